import OneBitRuntime

/// What `chat --json` prints of an answer.
struct ChatReport: Encodable {
    let question: String
    let answer: String
    /// Why it ended; `interrupted` for an answer that Ctrl-C stopped, which has no figures.
    let stopReason: String
    let tokens: [Int]?
    let promptTokens: Int?
    let promptTokensPerSecond: Double?
    let tokensPerSecond: Double?

    init(question: String, answer: String, info: GenerateCompletionInfo?) {
        self.question = question
        self.answer = answer
        stopReason = info?.stopReason.rawValue ?? "interrupted"
        tokens = info?.tokens
        promptTokens = info?.promptTokenCount
        promptTokensPerSecond = info?.promptTokensPerSecond
        tokensPerSecond = info?.tokensPerSecond
    }
}
