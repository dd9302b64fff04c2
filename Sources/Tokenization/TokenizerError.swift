import Foundation

/// Why a tokenizer could not be read or trained. Every case names the file and the key, and says what to do.
public enum TokenizerError: LocalizedError, Sendable, Hashable {
    /// The directory has neither `tokenizer.json` nor `tokenizer.model` nor `tekken.json`, nor both of `vocab.json` and
    /// `merges.txt`.
    case notFound(directory: String)
    /// The file is not what its format asks for at `key` (a path such as `model.merges[17]`).
    case malformed(file: String, key: String, reason: String)
    /// The file is well formed, but asks at `key` for something that this library does not do.
    case unsupported(file: String, key: String, found: String, supported: String)
    /// The regular expression at `key` takes too many steps, or too much memory, on a text of so many bytes.
    case expressionFailed(file: String, key: String, expression: String, textBytes: Int)
    /// A tokenizer of so few tokens cannot be trained.
    case vocabularyTooSmall(requested: Int, minimum: Int)
    /// A tokenizer of so many tokens cannot be trained.
    case vocabularyTooLarge(requested: Int, maximum: Int)

    public var errorDescription: String? {
        switch self {
        case .notFound(let directory):
            "\(directory): no tokenizer found; expected tokenizer.json, tokenizer.model, tekken.json, or vocab.json and "
                + "merges.txt. Copy one of these from the model that the weights came from."
        case .malformed(let file, let key, let reason):
            "\(file): \(key.isEmpty ? "" : "\(key): ")\(reason)"
        case .unsupported(let file, let key, let found, let supported):
            "\(file): \(key.isEmpty ? "" : "\(key): ")\(found) is not supported; supported: \(supported)."
        case .expressionFailed(let file, let key, let expression, let textBytes):
            "\(file): \(key): the regular expression \(expression.prefix(200)) takes too long on a text of \(textBytes) bytes; "
                + "encode shorter texts, or use an expression that does not backtrack so much."
        case .vocabularyTooSmall(let requested, let minimum):
            "A byte-level vocabulary of \(requested) tokens is too small; ask for \(minimum) or more."
        case .vocabularyTooLarge(let requested, let maximum):
            "A vocabulary of \(requested) tokens is too large; ask for \(maximum) or fewer."
        }
    }
}
