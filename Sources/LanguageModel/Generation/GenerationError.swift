import Foundation

/// What generation refuses.
public enum GenerationError: LocalizedError, Sendable, Equatable {
    /// A parameter outside its range.
    case invalidParameter(name: String, value: String, expected: String)
    /// The prompt leaves no room for an answer.
    case promptTooLong(tokens: Int, maximum: Int)
    /// One of several prompts is refused.
    case prompt(index: Int, reason: String)

    public var errorDescription: String? {
        switch self {
        case .invalidParameter(let name, let value, let expected):
            "\(name) is \(value); expected \(expected)."
        case .promptTooLong(let tokens, let maximum):
            "The prompt has \(tokens) tokens, more than the model's context of \(maximum). Shorten it."
        case .prompt(let index, let reason):
            "Prompt \(index + 1): \(reason)"
        }
    }
}
