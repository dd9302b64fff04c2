import Foundation

/// What a perplexity cannot be computed from.
public enum PerplexityError: LocalizedError, Sendable, Equatable {
    /// A window without a prediction.
    case windowTooShort(window: Int)
    /// A window that the model has no positions for.
    case windowTooLong(window: Int, maximum: Int)
    /// Not one whole window.
    case textTooShort(tokens: Int, window: Int)
    /// A limit that leaves nothing.
    case invalidWindowLimit(limit: Int)

    public var errorDescription: String? {
        switch self {
        case .windowTooShort(let window):
            "A window of \(window) tokens holds no prediction; it needs 2 or more."
        case .windowTooLong(let window, let maximum):
            "A window of \(window) tokens is longer than the model's context of \(maximum). Choose a shorter window."
        case .textTooShort(let tokens, let window):
            "The text has \(tokens) tokens, fewer than one window of \(window). Give more text or a shorter window."
        case .invalidWindowLimit(let limit):
            "The limit of \(limit) windows leaves nothing to evaluate; it must be 1 or more."
        }
    }
}
