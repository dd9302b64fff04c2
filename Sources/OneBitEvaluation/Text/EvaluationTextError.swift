import Foundation

/// A file that no text can be read from, or a text that does not suit what is asked of it.
public enum EvaluationTextError: LocalizedError, Sendable, Equatable {
    /// Bytes that are not text.
    case notUTF8(file: String)
    /// A line that is not a JSON object with a string `text`.
    case malformedLine(file: String, line: Int)
    /// The protocol puts tokens before each text, and the tokenizer has none for it.
    case noTokenToStartFrom
    /// Beginning-of-sequence tokens where the protocol has no place for them.
    case placementNotDefined(placement: BeginOfSequencePlacement)
    /// No text that a segment could be cut from.
    case noTextLongEnough(text: String, segment: Int)

    public var errorDescription: String? {
        switch self {
        case .notUTF8(let file): "\(file): not UTF-8 text."
        case .malformedLine(let file, let line):
            "\(file), line \(line): expected a JSON object with a string \"text\"."
        case .noTokenToStartFrom:
            "The tokenizer has neither a beginning- nor an end-of-sequence token that the first token of a text could be "
                + "predicted from, as the rolling protocol does. Choose another protocol."
        case .placementNotDefined(let placement):
            "The rolling protocol puts one token before each text; \"\(placement.rawValue)\" is not defined for it. Leave "
                + "the placement out, or choose another protocol."
        case .noTextLongEnough(let text, let segment):
            "\(text): no text has more than \(segment) tokens, as segments drawn from single texts need. Choose a shorter "
                + "window, or do not draw."
        }
    }
}
