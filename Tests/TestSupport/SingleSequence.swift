import LanguageModel

/// One sequence of a decoding context of its own.
package struct SingleSequence {
    package let context: any DecodingContext
    package let id: SequenceID

    package var length: Int { context.length(of: id) }

    package init(_ model: any CausalLanguageModel, capacity: Int? = nil) throws {
        let capacity = capacity ?? model.configuration.maximumPositions
        context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: capacity, batchTokens: capacity, logitRows: 1))
        id = try context.makeSequence(capacity: capacity)
    }

    /// Reads tokens, and returns the logits that follow the last of them.
    ///
    /// - Parameter sequenceLength: nil: with these tokens the sequence is complete.
    @discardableResult
    package func read(_ tokens: [Int], sequenceLength: Int? = nil) throws -> [Float] {
        var batch = TokenBatch()
        batch.append(tokens, to: id, sequenceLength: sequenceLength ?? length + tokens.count, logits: .last)
        try context.decode(batch)
        return try context.withLogits(row: 0) { Array($0) }
    }
}
