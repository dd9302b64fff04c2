import Foundation
import ModelDescription

/// What a packed model refuses.
public enum RuntimeError: LocalizedError, Sendable, Equatable {
    /// A token id that the vocabulary doesn't have.
    case tokenOutOfRange(token: Int, position: Int, vocabularySize: Int)
    /// More tokens than the model has positions for.
    case contextExceeded(tokens: Int, maximum: Int)
    /// Nothing to predict from.
    case noTokens
    /// A linear layer with more inputs than exact 32-bit sums allow.
    case layerTooWide(directory: String, tensor: String, inputs: Int, maximum: Int)
    /// Something would take more memory than there is.
    case notEnoughMemory(needed: Int, available: Int, purpose: String)
    /// The system refused memory.
    case outOfMemory(bytes: Int)
    /// The arithmetic left the range of 32-bit floats.
    case nonFiniteLogits(position: Int)

    public var errorDescription: String? {
        switch self {
        case .tokenOutOfRange(let token, let position, let vocabularySize):
            "Token \(token) at position \(position) is not in the model's vocabulary (0 to \(vocabularySize - 1)). "
                + "Is it another model's tokenizer?"
        case .contextExceeded(let tokens, let maximum):
            "\(tokens) tokens are more than the model's context of \(maximum)."
        case .noTokens:
            "There are no tokens to continue from; give at least one, the beginning-of-sequence token say."
        case .layerTooWide(let directory, let tensor, let inputs, let maximum):
            "\(directory): tensor \"\(tensor)\" has \(inputs) inputs; at most \(maximum) can be summed exactly."
        case .notEnoughMemory(let needed, let available, let purpose):
            "\(purpose) would take \(needed) bytes of memory and \(available) are available. "
                + "Ask for a shorter context, fewer sequences or a smaller model."
        case .outOfMemory(let bytes):
            "The system has no \(bytes) bytes of memory to give."
        case .nonFiniteLogits(let position):
            "The logits at position \(position) are not finite numbers: the checkpoint is damaged, or its values leave "
                + "the range of 32-bit floats."
        }
    }
}
