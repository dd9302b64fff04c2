import Foundation
import JSON
import ModelDescription
import TensorFiles
import TestSupport
import Testing

/// Checkpoints that PyTorch wrote: `scripts/reference/pytorch_checkpoints.py`, with 2.11.0.
enum Reference {
    static func url(_ name: String) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Reference").appending(path: name)
    }
}

struct PyTorchCheckpointTests {
    @Test("A checkpoint of shards in bfloat16 is read like one of safetensors")
    func shards() throws {
        let directory = try checkpoint()
        let checkpoint = try Checkpoint(directory: directory.url)
        #expect(checkpoint.kind == .dense)
        #expect(checkpoint.tensors.count == 2 * 9 + 3)
        for tensor in checkpoint.tensors.values {
            #expect(tensor.elementType == .bfloat16)
            #expect(try checkpoint.floats(of: tensor.name) == TinyModel.values(of: tensor))
        }
        #expect(checkpoint.identity.contains("pytorch_model-00002-of-00002.bin"))
    }

    @Test("Safetensors are preferred where both stand")
    func preference() throws {
        let directory = try checkpoint()
        try TinyModel.write(to: directory, type: .float32)
        let checkpoint = try Checkpoint(directory: directory.url)
        #expect(checkpoint.tensors.values.allSatisfy { $0.elementType == .float32 })
        try FileManager.default.removeItem(at: directory.url.appending(path: "model.safetensors"))
        #expect(try Checkpoint(directory: directory.url).tensors.values.allSatisfy { $0.elementType == .bfloat16 })
    }

    @Test("A shard that is missing, or another format, is an error of its own")
    func damagedShards() throws {
        let directory = try checkpoint()
        let shard = "pytorch_model-00002-of-00002.bin"
        try directory.write("version https://git-lfs.github.com/spec/v1", as: shard)
        let path = directory.url.appending(path: shard)
        #expect(throws: FileError.gitLFSPointer(file: path.path)) { try Checkpoint(directory: directory.url) }
        try directory.write("an error page", as: shard)
        #expect(throws: PyTorchError.self) { try Checkpoint(directory: directory.url) }
        try FileManager.default.removeItem(at: path)
        let error = #expect(throws: TensorFileError.self) { try Checkpoint(directory: directory.url) }
        guard case .missingShard(_, shard)? = error else { return fail("another error") }
    }

    /// The sharded reference beside the configuration that it belongs to.
    private func checkpoint() throws -> TemporaryDirectory {
        let directory = try TemporaryDirectory()
        try directory.write(TinyModel.configuration(), as: "config.json")
        let shards = Reference.url("sharded")
        for name in try FileManager.default.contentsOfDirectory(atPath: shards.path) {
            try FileManager.default.copyItem(
                at: shards.appending(path: name), to: directory.url.appending(path: name))
        }
        return directory
    }
}
