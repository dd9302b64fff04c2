import Foundation

/// What is wrong with the files that hold a checkpoint's tensors.
public enum TensorFileError: LocalizedError, Sendable, Equatable {
    /// The directory holds no file of weights that is known.
    case noWeights(directory: String, expected: String)
    /// The shard index is not what it should be.
    case malformedIndex(file: String, reason: String)
    /// The index names a file outside the checkpoint's directory.
    case shardOutsideDirectory(file: String, shard: String)
    /// The index names a file that is not there.
    case missingShard(file: String, shard: String)
    /// The index puts a tensor into a shard that does not have it.
    case tensorNotInShard(file: String, tensor: String, shard: String)
    /// The file has no tensor of that name.
    case noSuchTensor(file: String, tensor: String)
    /// Floats were asked of a tensor of integers.
    case notFloat(file: String, tensor: String, found: ElementType)
    /// A value that no weight may have.
    case nonFinite(file: String, tensor: String, index: Int, found: Float)

    public var errorDescription: String? {
        switch self {
        case .noWeights(let directory, let expected):
            "\(directory): expected a Hugging Face model directory, but there is no \(expected)."
        case .malformedIndex(let file, let reason):
            "\(file): \(reason)."
        case .shardOutsideDirectory(let file, let shard):
            "\(file): the shard \"\(shard)\" is not a plain file name of this directory."
        case .missingShard(let file, let shard):
            "\(file): the shard \(shard) is not there. Fetch it again."
        case .tensorNotInShard(let file, let tensor, let shard):
            "\(file): tensor \"\(tensor)\" should be in \(shard), which does not have it."
        case .noSuchTensor(let file, let tensor):
            "\(file): no tensor \"\(tensor)\"."
        case .notFloat(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" holds \(found.rawValue); expected F32, F16 or BF16."
        case .nonFinite(let file, let tensor, let index, let found):
            "\(file): tensor \"\(tensor)\" holds \(found) at element \(index); expected finite numbers."
        }
    }
}
