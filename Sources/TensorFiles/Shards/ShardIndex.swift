import Foundation
import JSON

/// Which file of a checkpoint holds which tensor: one file, or the shards that an index lists.
package struct ShardIndex {
    /// A format of weights: what its files are called, and what opens one.
    struct Format {
        let singleName: String
        let indexName: String
        let open: @Sendable (URL) throws -> any TensorFile
    }

    static let safetensors = Format(
        singleName: "model.safetensors",
        indexName: "model.safetensors.index.json",
        open: SafetensorsFile.init(contentsOf:)
    )
    static let pytorch = Format(
        singleName: "pytorch_model.bin",
        indexName: "pytorch_model.bin.index.json",
        open: PyTorchFile.init(contentsOf:)
    )
    /// The first that a directory has is read: transformers prefers them in this order.
    private static let formats = [safetensors, pytorch]

    /// The open files by name.
    package private(set) var files: [String: any TensorFile] = [:]
    /// Tensor to file name.
    package private(set) var shardOfTensor: [String: String] = [:]

    /// Opens every file of a checkpoint and checks that each has the tensors that the index puts there.
    ///
    /// - Throws: ``TensorFileError``, ``SafetensorsError``, ``PyTorchError`` or ``FileError``.
    package init(directory: URL) throws {
        let exists = { (name: String) in FileManager.default.fileExists(atPath: directory.appending(path: name).path) }
        for format in Self.formats {
            if exists(format.singleName) {
                let file = try format.open(directory.appending(path: format.singleName))
                files = [format.singleName: file]
                shardOfTensor = file.tensors.mapValues { _ in format.singleName }
                return
            }
            if exists(format.indexName) {
                try open(index: directory.appending(path: format.indexName), of: format, in: directory)
                return
            }
        }
        throw TensorFileError.noWeights(
            directory: directory.path,
            expected: Self.formats.flatMap { [$0.singleName, $0.indexName] }.joined(separator: " or ")
        )
    }

    private mutating func open(index: URL, of format: Format, in directory: URL) throws {
        let weightMap = try Self.readWeightMap(index)
        for member in weightMap.members {
            guard case .string(let shard) = member.value else {
                throw TensorFileError.malformedIndex(
                    file: index.path,
                    reason: "\"weight_map\": expected a file name for \"\(member.key)\", found \(member.value.summary)"
                )
            }
            if files[shard] == nil {
                files[shard] = try format.open(Self.url(ofShard: shard, in: directory, index: index.path))
            }
            guard files[shard]?.tensors[member.key] != nil else {
                throw TensorFileError.tensorNotInShard(file: index.path, tensor: member.key, shard: shard)
            }
            shardOfTensor[member.key] = shard
        }
    }

    private static func readWeightMap(_ index: URL) throws -> JSONObject {
        let data = try readSmallFile(index)
        do {
            guard case .object(let object) = try JSONValue.parse(data),
                case .object(let weightMap)? = object["weight_map"]
            else { throw TensorFileError.malformedIndex(file: index.path, reason: "expected an object \"weight_map\"") }
            return weightMap
        } catch let error as JSONError {
            throw TensorFileError.malformedIndex(file: index.path, reason: error.localizedDescription)
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
