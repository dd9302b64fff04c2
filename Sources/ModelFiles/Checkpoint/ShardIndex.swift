import Foundation

/// Which file of a checkpoint holds which tensor: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
struct ShardIndex {
    static let singleName = "model.safetensors"
    static let indexName = "model.safetensors.index.json"

    /// The open files by name.
    private(set) var files: [String: SafetensorsFile] = [:]
    /// Tensor to file name.
    private(set) var shardOfTensor: [String: String] = [:]

    /// Opens every file of a checkpoint and checks that each has the tensors that the index puts there.
    ///
    /// - Throws: ``CheckpointError``, ``SafetensorsError`` or ``FileError``.
    init(directory: URL) throws {
        let exists = { (name: String) in FileManager.default.fileExists(atPath: directory.appending(path: name).path) }
        if exists(Self.singleName) {
            let file = try SafetensorsFile(contentsOf: directory.appending(path: Self.singleName))
            files = [Self.singleName: file]
            shardOfTensor = file.tensors.mapValues { _ in Self.singleName }
        } else if exists(Self.indexName) {
            try open(index: directory.appending(path: Self.indexName), in: directory)
        } else {
            for name in ["pytorch_model.bin", "pytorch_model.bin.index.json"] where exists(name) {
                throw CheckpointError.pytorchWeights(directory: directory.path, file: name)
            }
            throw CheckpointError.notACheckpoint(
                directory: directory.path,
                missing: "\(Self.singleName) or \(Self.indexName)"
            )
        }
    }

    private mutating func open(index: URL, in directory: URL) throws {
        let weightMap = try Self.readWeightMap(index)
        for member in weightMap.members {
            guard case .string(let shard) = member.value else {
                throw CheckpointError.malformedIndex(
                    file: index.path,
                    reason: "\"weight_map\": expected a file name for \"\(member.key)\", found \(member.value.summary)"
                )
            }
            if files[shard] == nil { files[shard] = try Self.open(shard: shard, in: directory, index: index.path) }
            guard files[shard]?.tensors[member.key] != nil else {
                throw CheckpointError.tensorNotInShard(file: index.path, tensor: member.key, shard: shard)
            }
            shardOfTensor[member.key] = shard
        }
    }

    private static func readWeightMap(_ index: URL) throws -> JSONObject {
        let data = try readSmallFile(index)
        do {
            guard case .object(let object) = try JSONValue.parse(data),
                case .object(let weightMap)? = object["weight_map"]
            else { throw CheckpointError.malformedIndex(file: index.path, reason: "expected an object \"weight_map\"") }
            return weightMap
        } catch let error as JSONError {
            throw CheckpointError.malformedIndex(file: index.path, reason: error.localizedDescription)
        }
    }

    private static func open(shard: String, in directory: URL, index: String) throws -> SafetensorsFile {
        // Bytes, not characters: a slash with an accent is another character, and the system's separator all the same.
        guard !shard.isEmpty, !shard.utf8.contains(UInt8(ascii: "/")), !shard.utf8.contains(0),
            shard != ".", shard != ".."
        else {
            throw CheckpointError.shardOutsideDirectory(file: index, shard: shard)
        }
        if shard.hasSuffix(".bin") { throw CheckpointError.pytorchWeights(directory: directory.path, file: shard) }
        let url = directory.appending(path: shard)
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw CheckpointError.missingShard(file: index, shard: shard)
        }
        return try SafetensorsFile(contentsOf: url)
    }
}
