/// One text on its way: tokens, and what they spell.
struct TextGeneration {
    private var iterator: TokenIterator
    private var text: GeneratedText
    private var isFinished = false

    init(_ iterator: TokenIterator, text: GeneratedText) {
        self.iterator = iterator
        self.text = text
    }

    /// The tokens so far.
    var tokens: [Int] { text.tokens }

    /// The text that the next token settles, often none; nil at the end.
    ///
    /// - Throws: as ``TokenIterator/next()``.
    mutating func next() throws -> String? {
        if isFinished { return nil }
        if !text.isStopped, let token = try iterator.next() { return text.append(token) }
        isFinished = true
        return text.finish()
    }

    /// How it went, at the end.
    var info: GenerateCompletionInfo {
        GenerateCompletionInfo(
            stopReason: text.isStopped ? .stopString : iterator.stopReason ?? .length,
            tokens: text.tokens,
            promptTokenCount: iterator.promptTokenCount,
            promptTime: iterator.promptTime,
            generateTime: iterator.generateTime,
            stepCount: iterator.stepCount
        )
    }
}
