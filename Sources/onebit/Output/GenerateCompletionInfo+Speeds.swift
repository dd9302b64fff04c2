import OneBitRuntime

extension GenerateCompletionInfo {
    /// How long it took and why it ended: a line for people.
    var speeds: String {
        "prompt \(Quantity.count(promptTokenCount)) tokens, \(Quantity.fixed(promptTokensPerSecond, digits: 1)) "
            + "tokens/s; generated \(Quantity.count(tokens.count)) tokens, "
            + "\(Quantity.fixed(tokensPerSecond, digits: 1)) tokens/s; ended by \(stopReason.rawValue)\n"
    }
}
