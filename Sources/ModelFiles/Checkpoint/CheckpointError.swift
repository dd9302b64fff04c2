import Foundation

/// What is wrong with a checkpoint directory, or with what is asked of it.
public enum CheckpointError: LocalizedError, Sendable, Equatable {
    /// There is no such directory, or it has no `config.json`.
    case notACheckpoint(directory: String, missing: String)
    /// The shard index is not what it should be.
    case malformedIndex(file: String, reason: String)
    /// The index names a file outside the checkpoint's directory.
    case shardOutsideDirectory(file: String, shard: String)
    /// The index names a file that is not there.
    case missingShard(file: String, shard: String)
    /// The index puts a tensor into a shard that does not have it.
    case tensorNotInShard(file: String, tensor: String, shard: String)
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
    /// The file has no tensor of that name.
    case noSuchTensor(file: String, tensor: String)
    /// Floats were asked of a tensor of integers.
    case notFloat(file: String, tensor: String, found: ElementType)
    /// A value that no weight may have.
    case nonFinite(file: String, tensor: String, index: Int, found: Float)
    /// A stage got a checkpoint of another kind than it works on.
    case wrongKind(directory: String, expected: CheckpointKind, found: CheckpointKind)

    public var errorDescription: String? {
        switch self {
        case .notACheckpoint(let directory, let missing):
            "\(directory): expected a Hugging Face model directory, but there is no \(missing)."
        case .malformedIndex(let file, let reason):
            "\(file): \(reason)."
        case .shardOutsideDirectory(let file, let shard):
            "\(file): the shard \"\(shard)\" is not a plain file name of this directory."
        case .missingShard(let file, let shard):
            "\(file): the shard \(shard) is not there. Fetch it again."
        case .tensorNotInShard(let file, let tensor, let shard):
            "\(file): tensor \"\(tensor)\" should be in \(shard), which does not have it."
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
        case .noSuchTensor(let file, let tensor):
            "\(file): no tensor \"\(tensor)\"."
        case .notFloat(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" holds \(found.rawValue); expected F32, F16 or BF16."
        case .nonFinite(let file, let tensor, let index, let found):
            "\(file): tensor \"\(tensor)\" holds \(found) at element \(index); expected finite numbers."
        case .wrongKind(let directory, let expected, let found):
            "\(directory) is \(found.article); expected \(expected.article)."
        }
    }
}
