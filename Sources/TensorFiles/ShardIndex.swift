import Foundation
import JSON

/// Which file of a checkpoint holds which tensor: one file, or the shards that an index lists.
package struct ShardIndex {
    /// A format of weights: what its files are called, and what opens one.
    struct Format {
        let singleName: String
        let indexName: String
        let open: @Sendable (URL, (String) -> Bool) throws -> any TensorFile
    }

    static let safetensors = Format(
        singleName: "model.safetensors",
        indexName: "model.safetensors.index.json",
        open: { try SafetensorsFile(contentsOf: $0, ignores: $1) }
    )
    static let pytorch = Format(
        singleName: "pytorch_model.bin",
        indexName: "pytorch_model.bin.index.json",
        open: { try PyTorchFile(contentsOf: $0, ignores: $1) }
    )
    /// The first that a directory has is read: transformers prefers them in this order.
    private static let formats = [safetensors, pytorch]

    /// The open files by name.
    package private(set) var files: [String: any TensorFile] = [:]
    /// Tensor to file name.
    package private(set) var shardOfTensor: [String: String] = [:]

    /// Files that are open, each of whose tensors it has under one name alone.
    ///
    /// - Throws: ``TensorFileError/tensorTwice(file:tensor:other:)``.
    package init(files: [String: any TensorFile]) throws {
        self.files = files
        for (name, file) in files.sorted(by: { $0.key < $1.key }) {
            for tensor in file.tensors.keys {
                if let other = shardOfTensor.updateValue(name, forKey: tensor) {
                    throw TensorFileError.tensorTwice(file: file.path, tensor: tensor, other: other)
                }
            }
        }
    }

    /// Opens every file of a checkpoint and checks that each has the tensors that the index puts there. Of two equal names
    /// in the index the later one counts, as in transformers.
    ///
    /// - Parameter ignores: names of tensors that nothing is computed with; they need not be there, nor readable.
    /// - Throws: ``TensorFileError``, ``SafetensorsError``, ``PyTorchError`` or `FileError`.
    package init(directory: URL, ignores: (String) -> Bool = { _ in false }) throws {
        let exists = { (name: String) in FileManager.default.fileExists(atPath: directory.appending(path: name).path) }
        for format in Self.formats {
            if exists(format.singleName) {
                let file = try format.open(directory.appending(path: format.singleName), ignores)
                files = [format.singleName: file]
                shardOfTensor = file.tensors.mapValues { _ in format.singleName }
                return
            }
            if exists(format.indexName) {
                try open(
                    index: directory.appending(path: format.indexName), of: format, in: directory, ignores: ignores)
                return
            }
        }
        throw TensorFileError.noWeights(
            directory: directory.path,
            expected: Self.formats.flatMap { [$0.singleName, $0.indexName] }.joined(separator: " or ")
        )
    }

    private mutating func open(
        index: URL, of format: Format, in directory: URL, ignores: (String) -> Bool
    ) throws {
        let weightMap = try JSONNode(contentsOf: index, duplicateKeys: .lastCounts)["weight_map"]
        for (name, node) in try weightMap.members() where !ignores(name) {
            let shard = try node.string()
            if files[shard] == nil {
                files[shard] = try format.open(Self.url(ofShard: shard, in: directory, index: index.path), ignores)
            }
            guard files[shard]?.tensors[name] != nil else {
                throw TensorFileError.tensorNotInShard(file: index.path, tensor: name, shard: shard)
            }
            shardOfTensor[name] = shard
        }
    }

    private static func url(ofShard shard: String, in directory: URL, index: String) throws -> URL {
        // Bytes, not characters: a slash with an accent is another character, and the system's separator all the same.
        guard !shard.isEmpty, !shard.utf8.contains(UInt8(ascii: "/")), !shard.utf8.contains(0),
            shard != ".", shard != ".."
        else {
            throw TensorFileError.shardOutsideDirectory(file: index, shard: shard)
        }
        let url = directory.appending(path: shard)
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw TensorFileError.missingShard(file: index, shard: shard)
        }
        return url
    }
}
