import Foundation
import TensorFiles

/// What is wrong with a `config.json`. Every case names the file and the key.
public enum ConfigurationError: LocalizedError, Sendable, Equatable {
    /// The text is no JSON object.
    case malformed(file: String, reason: String)
    /// A key that the family needs is missing.
    case missingKey(file: String, key: String)
    /// A value of another type or outside its bounds.
    case invalidValue(file: String, key: String, expected: String, found: String)
    /// A model family that this version does not know.
    case unsupportedFamily(file: String, found: String, supported: [String])
    /// A setting that changes the mathematics in a way that this version does not compute.
    case unsupportedSetting(file: String, key: String, found: String, supported: String)
    /// Two values that cannot both be true.
    case inconsistent(file: String, reason: String)
    /// `--shape` named no known shape.
    case unknownShape(found: String, known: [String])

    public var errorDescription: String? {
        switch self {
        case .malformed(let file, let reason):
            "\(file): \(reason)."
        case .missingKey(let file, let key):
            "\(file): the key \"\(key)\" is missing."
        case .invalidValue(let file, let key, let expected, let found):
            "\(file): \"\(key)\": expected \(expected), found \(found)."
        case .unsupportedFamily(let file, let found, let supported):
            "\(file): \"model_type\" is \(found); this version supports \(supported.joined(separator: ", "))."
        case .unsupportedSetting(let file, let key, let found, let supported):
            "\(file): \"\(key)\" is \(found); this version supports \(supported) only."
        case .inconsistent(let file, let reason):
            "\(file): \(reason)."
        case .unknownShape(let found, let known):
            "No shape \"\(found)\"; known: \(known.joined(separator: ", "))."
        }
    }
}
