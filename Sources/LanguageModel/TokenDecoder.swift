// Temporary, until both back ends have a decoding context of their own and the generation engine decodes with it.

/// One sequence that grows: reads tokens and keeps their keys and values.
public protocol TokenDecoder: AnyObject {
    /// Tokens read so far.
    var position: Int { get }
    /// Tokens that there is room for.
    var contextLength: Int { get }

    /// Reads `tokens`; ``withLogits(_:)`` then gives what follows the last of them.
    func advance(by tokens: [Int]) throws

    /// Calls `body` with the logits that follow the last token, `[vocabularySize]`, valid during the call.
    ///
    /// - Throws: ``LanguageModelError/noTokens`` before the first token and after ``rewind(to:)``, and what `body` throws.
    func withLogits<Result>(_ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result

    /// Forgets the tokens from `position` on. The next tokens take their places.
    func rewind(to position: Int)
}

extension CausalLanguageModel {
    /// A decoding state with room for the model's whole context.
    public func makeDecoder() throws -> any TokenDecoder { try makeDecoder(contextLength: nil) }

    public func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        SequentialContext(limits: limits, vocabularySize: configuration.vocabularySize) {
            try makeDecoder(contextLength: $0)
        }
    }
}

/// A context that computes one token decoder after the other.
private final class SequentialContext: DecodingContext {
    let limits: DecodingLimits
    private let makeDecoder: (Int) throws -> any TokenDecoder
    private let vocabularySize: Int
    private var decoders: [(any TokenDecoder)?]
    private var logits: [Float] = []

    init(limits: DecodingLimits, vocabularySize: Int, makeDecoder: @escaping (Int) throws -> any TokenDecoder) {
        self.limits = limits
        self.vocabularySize = vocabularySize
        self.makeDecoder = makeDecoder
        decoders = Array(repeating: nil, count: limits.sequences)
    }

    func makeSequence(capacity: Int) throws -> SequenceID {
        guard let slot = decoders.firstIndex(where: { $0 == nil }) else {
            throw LanguageModelError.tooManySequences(maximum: limits.sequences)
        }
        decoders[slot] = try makeDecoder(capacity)
        return SequenceID(index: slot)
    }

    func removeSequence(_ id: SequenceID) { decoders[id.index] = nil }

    func length(of id: SequenceID) -> Int { decoders[id.index]?.position ?? 0 }

    func truncate(_ id: SequenceID, to length: Int) { decoders[id.index]?.rewind(to: length) }

    func decode(_ batch: TokenBatch) throws {
        logits.removeAll(keepingCapacity: true)
        for slice in batch.slices {
            guard let decoder = decoders[slice.sequence.index] else { throw LanguageModelError.noTokens }
            let tokens = batch.tokens[slice.rows]
            switch slice.logits {
            case .none, .last:
                try decoder.advance(by: Array(tokens))
                if slice.logits == .last { try decoder.withLogits { logits.append(contentsOf: $0) } }
            case .all:
                for token in tokens {
                    try decoder.advance(by: [token])
                    try decoder.withLogits { logits.append(contentsOf: $0) }
                }
            }
        }
    }

    func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        try logits.withUnsafeBufferPointer { logits in
            guard row >= 0, (row + 1) * vocabularySize <= logits.count else { throw LanguageModelError.noTokens }
            return try body(UnsafeBufferPointer(rebasing: logits[row * vocabularySize..<(row + 1) * vocabularySize]))
        }
    }
}
