import ModelDescription
import Tokenization

@testable import LanguageModel

/// Counts: after token n comes n + 1, with certainty.
struct CountingModel: CausalLanguageModel {
    let configuration: ModelConfiguration

    init(vocabulary: Int = 30, maximumPositions: Int = 64, endOfSequence: [Int] = []) throws {
        configuration = try ModelConfiguration(
            vocabularySize: vocabulary, hiddenSize: 8, intermediateSize: 8, layerCount: 1, attentionHeadCount: 1,
            maximumPositions: maximumPositions, tiedEmbeddings: true, beginOfSequence: nil,
            endOfSequence: endOfSequence)
    }

    func logits(of tokens: [Int]) throws -> [Float] { tokens.flatMap(logits(after:)) }

    func cacheByteCount(positions: Int) -> Int { positions }

    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        PredictingContext(limits: limits, vocabularySize: configuration.vocabularySize) { tokens in
            (tokens.last! + 1) % configuration.vocabularySize
        }
    }

    private func logits(after token: Int) -> [Float] {
        (0..<configuration.vocabularySize).map { $0 == (token + 1) % configuration.vocabularySize ? 10 : 0 }
    }
}

/// A context of which a closure says what token comes next.
final class PredictingContext: DecodingContext {
    let limits: DecodingLimits
    private let vocabularySize: Int
    private let willDecode: (TokenBatch) throws -> Void
    private let next: ([Int]) throws -> Int
    private var sequences: [(tokens: [Int], capacity: Int)?]
    private var rows: [[Int]] = []

    init(
        limits: DecodingLimits, vocabularySize: Int, willDecode: @escaping (TokenBatch) throws -> Void = { _ in },
        next: @escaping ([Int]) throws -> Int
    ) {
        self.limits = limits
        self.vocabularySize = vocabularySize
        self.willDecode = willDecode
        self.next = next
        sequences = Array(repeating: nil, count: limits.sequences)
    }

    func makeSequence(capacity: Int) throws -> SequenceID {
        guard let slot = sequences.firstIndex(where: { $0 == nil }) else {
            throw LanguageModelError.tooManySequences(maximum: limits.sequences)
        }
        sequences[slot] = ([], capacity)
        return SequenceID(index: slot)
    }

    func removeSequence(_ id: SequenceID) { sequences[id.index] = nil }
    func length(of id: SequenceID) -> Int { sequences[id.index]!.tokens.count }
    func truncate(_ id: SequenceID, to length: Int) {
        let tokens = sequences[id.index]!.tokens
        sequences[id.index]!.tokens.removeLast(max(0, tokens.count - length))
    }

    func decode(_ batch: TokenBatch) throws {
        try batch.validate(limits, vocabularySize: vocabularySize) { id in
            sequences[id.index].map { ($0.tokens.count, $0.capacity) }
        }
        try Task.checkCancellation()
        try willDecode(batch)
        rows = []
        for slice in batch.slices {
            for row in slice.rows {
                sequences[slice.sequence.index]!.tokens.append(batch.tokens[row])
                if slice.wantedRows.contains(row) { rows.append(sequences[slice.sequence.index]!.tokens) }
            }
        }
    }

    func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        var logits = [Float](repeating: 0, count: vocabularySize)
        logits[try next(rows[row])] = 10
        return try logits.withUnsafeBufferPointer(body)
    }
}
