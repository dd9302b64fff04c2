extension CausalLanguageModel {
    /// Checks that a sequence at `position` may grow by `tokens`: at least one, all of the vocabulary, and room for them.
    ///
    /// - Parameters:
    ///   - tokens: what it is to grow by.
    ///   - position: tokens that it has.
    ///   - contextLength: positions that there is room for; nil is the model's own.
    /// - Throws: ``LanguageModelError``
    public func check(_ tokens: [Int], at position: Int = 0, contextLength: Int? = nil) throws {
        guard !tokens.isEmpty else { throw LanguageModelError.noTokens }
        let maximum = contextLength ?? configuration.maximumPositions
        guard tokens.count <= maximum - position else {
            throw LanguageModelError.contextExceeded(tokens: position + tokens.count, maximum: maximum)
        }
        let vocabulary = configuration.vocabularySize
        for (index, token) in tokens.enumerated() where token < 0 || token >= vocabulary {
            throw LanguageModelError.tokenOutOfRange(
                token: token, position: position + index, vocabularySize: vocabulary)
        }
    }
}
