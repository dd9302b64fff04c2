import Foundation
import TensorFiles

/// What is wrong with a checkpoint directory, or with what is asked of it.
public enum CheckpointError: LocalizedError, Sendable, Equatable {
    /// There is no such directory, or it has no `config.json`.
    case notACheckpoint(directory: String, missing: String)
    /// The configuration calls for a tensor that is not there.
    case missingTensor(directory: String, tensor: String)
    /// One tensor of the model under two names, with and without the model's prefix.
    case sameTensorTwice(directory: String, tensor: String, other: String)
    /// A tensor that the configuration does not account for.
    case unexpectedTensor(directory: String, tensor: String, hint: String)
    /// A tensor of another shape than the configuration gives it.
    case wrongShape(directory: String, tensor: String, expected: [Int], found: [Int])
    /// A tensor of another element type than its place asks for.
    case wrongElementType(directory: String, tensor: String, expected: String, found: ElementType)
    /// A stage got a checkpoint of another kind than it works on.
    case wrongKind(directory: String, expected: CheckpointKind, found: CheckpointKind)

    public var errorDescription: String? {
        switch self {
        case .notACheckpoint(let directory, let missing):
            "\(directory): expected a Hugging Face model directory, but there is no \(missing)."
        case .missingTensor(let directory, let tensor):
            "\(directory): config.json calls for the tensor \"\(tensor)\", which is not there."
        case .sameTensorTwice(let directory, let tensor, let other):
            "\(directory): \"\(tensor)\" and \"\(other)\" are the same tensor of the model. Remove one."
        case .unexpectedTensor(let directory, let tensor, let hint):
            "\(directory): tensor \"\(tensor)\" has no place in the model that config.json describes\(hint)."
        case .wrongShape(let directory, let tensor, let expected, let found):
            "\(directory): tensor \"\(tensor)\": config.json gives it shape \(expected), found \(found)."
        case .wrongElementType(let directory, let tensor, let expected, let found):
            "\(directory): tensor \"\(tensor)\": expected \(expected), found \(found.rawValue)."
        case .wrongKind(let directory, let expected, let found):
            "\(directory) is \(found.article); expected \(expected.article)."
        }
    }
}
