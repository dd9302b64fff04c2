// Temporary, until generation, chat and scoring decode with contexts.

import LanguageModel

extension PackedModel {
    public func makeDecoder(contextLength: Int?) throws -> any TokenDecoder {
        let longest = configuration.maximumPositions
        return try ContextDecoder(self, contextLength: max(1, min(contextLength ?? longest, longest)))
    }
}

/// One sequence of a context of its own.
private final class ContextDecoder: TokenDecoder {
    let contextLength: Int
    var position: Int { context.length(of: sequence) }
    private let model: PackedModel
    private let context: any DecodingContext
    private let sequence: SequenceID
    private var batch = TokenBatch()
    private var hasLogits = false

    init(_ model: PackedModel, contextLength: Int) throws {
        self.model = model
        self.contextLength = contextLength
        context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: contextLength, batchTokens: contextLength, logitRows: 1))
        sequence = try context.makeSequence(capacity: contextLength)
    }

    func advance(by tokens: [Int]) throws {
        try model.check(tokens, at: position, contextLength: contextLength)
        batch.removeAll()
        batch.append(tokens, to: sequence, sequenceLength: position + tokens.count, logits: .last)
        try context.decode(batch)
        hasLogits = true
    }

    func withLogits<Result>(_ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        guard hasLogits else { throw LanguageModelError.noTokens }
        return try context.withLogits(row: 0, body)
    }

    func rewind(to position: Int) {
        context.truncate(sequence, to: position)
        hasLogits = false
    }
}
