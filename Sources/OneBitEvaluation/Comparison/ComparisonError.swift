import Foundation

/// Why two models cannot be compared.
public enum ComparisonError: LocalizedError, Sendable, Equatable {
    /// Probabilities over different sets of tokens.
    case vocabulariesDiffer(teacher: Int, student: Int)
    /// Two tokenizers that cut a text differently; the position is that of the first difference.
    case tokensDiffer(text: String, position: Int)

    public var errorDescription: String? {
        switch self {
        case .vocabulariesDiffer(let teacher, let student):
            "The teacher's vocabulary has \(teacher) tokens and the student's \(student): their predictions are not of the "
                + "same thing. Compare models that share a tokenizer."
        case .tokensDiffer(let text, let position):
            "\(text): teacher's and student's tokenizers differ at token \(position). Compare models that share a tokenizer."
        }
    }
}
