extension CausalLanguageModel {
    /// Checks that a sequence at `position` may grow by `tokens`: at least one, all of the vocabulary, and room for them.
    ///
    /// - Throws: ``RuntimeError``
    public func check(_ tokens: [Int], at position: Int = 0) throws {
        guard !tokens.isEmpty else { throw RuntimeError.noTokens }
        let maximum = configuration.maximumPositions
        guard tokens.count <= maximum - position else {
            throw RuntimeError.contextExceeded(tokens: position + tokens.count, maximum: maximum)
        }
        let vocabulary = 0..<configuration.vocabularySize
        if let index = tokens.firstIndex(where: { !vocabulary.contains($0) }) {
            throw RuntimeError.tokenOutOfRange(
                token: tokens[index], position: position + index, vocabularySize: vocabulary.count)
        }
    }
}
