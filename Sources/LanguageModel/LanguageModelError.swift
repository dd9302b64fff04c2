import Foundation

/// What every back end refuses: tokens and sequences that no model can compute.
public enum LanguageModelError: LocalizedError, Sendable, Equatable {
    /// A token id that the vocabulary doesn't have.
    case tokenOutOfRange(token: Int, position: Int, vocabularySize: Int)
    /// More tokens than the model or the sequence has positions for.
    case contextExceeded(tokens: Int, maximum: Int)
    /// Nothing to predict from.
    case noTokens
    /// More sequences than a decoding context was made for.
    case tooManySequences(maximum: Int)
    /// A batch with more tokens, or more wanted rows of logits, than its decoding context was made for.
    case batchTooLarge(tokens: Int, maximumTokens: Int, logitRows: Int, maximumLogitRows: Int)
    /// A batch that names a sequence which its decoding context does not have, or names one twice.
    case invalidSequence(index: Int)
    /// Something would take more memory than there is.
    case notEnoughMemory(needed: Int, available: Int, purpose: String)
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
            "There are no tokens to continue from; give at least one, such as the beginning-of-sequence token."
        case .tooManySequences(let maximum):
            "All \(maximum) sequences of the decoding context are taken; remove one or make a larger context."
        case .batchTooLarge(let tokens, let maximumTokens, let logitRows, let maximumLogitRows):
            "A batch of \(tokens) tokens and \(logitRows) rows of logits is more than its decoding context was made for "
                + "(\(maximumTokens) and \(maximumLogitRows))."
        case .invalidSequence(let index):
            "The decoding context has no sequence \(index), or the batch names it twice."
        case .notEnoughMemory(let needed, let available, let purpose):
            "\(purpose) would take \(needed) bytes of memory and \(available) are available. "
                + "Ask for a shorter context, fewer sequences or a smaller model."
        case .nonFiniteLogits(let position):
            "The logits at position \(position) are not finite numbers: the checkpoint is damaged, or its values leave "
                + "the range of 32-bit floats."
        }
    }
}
