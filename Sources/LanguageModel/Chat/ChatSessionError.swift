import Foundation

/// What a chat refuses.
public enum ChatSessionError: LocalizedError, Sendable, Equatable {
    /// The model was put together without a chat template.
    case noChatTemplate
    /// The conversation has outgrown its context. The question was not asked, and the session can still be used.
    case contextExceeded(tokens: Int, maximum: Int)

    public var errorDescription: String? {
        switch self {
        case .noChatTemplate:
            "The model has no chat template. To continue a text, `generate` works without one."
        case .contextExceeded(let tokens, let maximum):
            "With this question the conversation has \(tokens) tokens, and an answer has no room in its context of "
                + "\(maximum). Clear it, ask less, or begin it with a longer context."
        }
    }
}
