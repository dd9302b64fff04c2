import Foundation

/// What cannot be cut into windows.
public enum WindowError: LocalizedError, Sendable, Equatable {
    /// A window without a prediction.
    case windowTooShort(window: Int, minimum: Int)
    /// A window that a model has no positions for.
    case windowTooLong(window: Int, maximum: Int)
    /// Windows that leave tokens out between them, or never end.
    case invalidStride(stride: Int, window: Int)
    /// Not one window.
    case textTooShort(text: String, tokens: Int, window: Int)
    /// A limit that leaves nothing.
    case invalidLimit(limit: Int)

    public var errorDescription: String? {
        switch self {
        case .windowTooShort(let window, let minimum):
            "A window of \(window) tokens holds no prediction; it needs \(minimum) or more."
        case .windowTooLong(let window, let maximum):
            "A window of \(window) tokens is longer than the model's context of \(maximum). Choose a shorter window."
        case .invalidStride(let stride, let window):
            "A stride of \(stride) does not suit windows of \(window) tokens; it must lie between 1 and \(window)."
        case .textTooShort(let text, let tokens, let window):
            "\(text) has \(tokens) tokens, fewer than one window of \(window). Give more text or a shorter window."
        case .invalidLimit(let limit):
            "The limit of \(limit) windows leaves nothing to evaluate; it must be 1 or more."
        }
    }
}
