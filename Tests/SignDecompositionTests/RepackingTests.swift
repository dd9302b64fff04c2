import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import Testing

/// Students whose tensors have types of their own, vectors that half precision rounds among them, in the form that the
/// paper's authors released.
struct RepackingTests {
    let root: URL
    var packedURL: URL { root.appending(path: "packed") }

    init() throws {
        root = FileManager.default.temporaryDirectory.appending(path: "onebit-repacking-\(UUID().uuidString)")
        for (name, kind) in [("float", CheckpointKind.floatStudent), ("released", .packed)] {
            try Self.write(kind, to: root.appending(path: name))
        }
    }

    private static func write(_ kind: CheckpointKind, to directory: URL) throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let architecture = kind == .packed ? "BitLlamaForCausalLMInf" : "BitLlamaForCausalLM"
        let config = """
            {"model_type": "bitllama", "architectures": ["\(architecture)"], "vocab_size": 11, "hidden_size": 16,
             "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "rms_norm_eps": 1e-05}
            """
        let url = directory.appending(path: "config.json")
        try Data(config.utf8).write(to: url)
        let configuration = try ModelConfiguration(contentsOf: url)
        let plan = configuration.tensorPlan(kind: kind, weightType: .float32, valueType: .float32) {
            $0.name.contains("norm") ? .float32 : .bfloat16
        }
        let writer = try CheckpointWriter(directory: directory, tensors: plan)
        for (number, tensor) in plan.enumerated() {
            // Numbers from 1/3 on, every third of them negative, and the first latent weight of a matrix zero.
            let values = (0..<tensor.elementCount).map { Float($0 % 3 == 2 ? -$0 : $0) / 3 + Float(number) }
            guard tensor.elementType == .int8 else {
                let latent = tensor.name.hasSuffix("proj.weight") ? values.map { $0 - Float(number) } : values
                try writer.write(tensor.name, floats: latent)
                continue
            }
            let bytes = (0..<tensor.elementCount).map { byte in
                (0..<8).reduce(UInt8(0)) { $0 | ((byte * 8 + $1) % 3 == 2 ? 1 << $1 : 0) }
            }
            try bytes.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
        }
        try writer.finish()
    }

    private func bytes(_ checkpoint: Checkpoint) throws -> [String: [UInt8]] {
        try checkpoint.tensors.keys.reduce(into: [:]) { bytes, name in
            bytes[name] = try checkpoint.withUnsafeBytes(of: name, Array.init)
        }
    }

    @Test(
        "A released checkpoint written anew loses no bit, whether it was packed or float",
        arguments: ["released", "float"])
    func lossless(source: String) throws {
        defer { try? FileManager.default.removeItem(at: root) }
        let released = try Checkpoint(directory: root.appending(path: "released"))
        let student = try Checkpoint(directory: root.appending(path: source))
        try CheckpointPacker(valueType: nil).pack(student: student, destination: packedURL)
        let packed = try Checkpoint(directory: packedURL)
        #expect(packed.kind == .packed)
        #expect(packed.tensors == released.tensors)
        #expect(try bytes(packed) == bytes(released))
        #expect(packed.configuration.quantization?.valueType == .float32)
        #expect(packed.configuration.quantization?.postLayerNorm == true)
        #expect(packed.configuration.modelType == "llama")
    }

    @Test("With a type of its own, everything but the signs has that type")
    func half() throws {
        defer { try? FileManager.default.removeItem(at: root) }
        let released = try Checkpoint(directory: root.appending(path: "released"))
        try CheckpointPacker(valueType: .float16).pack(student: released, destination: packedURL)
        let packed = try Checkpoint(directory: packedURL)
        #expect(packed.configuration.quantization?.valueType == .float16)
        for tensor in packed.tensors.values where tensor.elementType != .int8 {
            #expect(tensor.elementType == .float16)
            #expect(try packed.floats(of: tensor.name) == released.floats(of: tensor.name).map { Float(Float16($0)) })
        }
    }

    @Test("Embedding and output projection in 8 bits: half a step off at the most, kept when packed again, and undone")
    func int8Embeddings() throws {
        defer { try? FileManager.default.removeItem(at: root) }
        let released = try Checkpoint(directory: root.appending(path: "released"))
        try CheckpointPacker(valueType: nil, embeddingFormat: .int8).pack(student: released, destination: packedURL)
        let packed = try Checkpoint(directory: packedURL)
        #expect(packed.configuration.quantization?.embeddingFormat == .int8)
        for matrix in released.configuration.embeddingTensors {
            #expect(try packed.description(of: matrix.name).elementType == .int8)
            let scales = try packed.floats(of: matrix.rowScale.name)
            let pairs = try zip(packed.floats(of: matrix.name), released.floats(of: matrix.name))
            for (index, (found, expected)) in pairs.enumerated() {
                #expect(abs(found - expected) <= scales[index / matrix.shape[1]] * 0.501)
            }
        }
        let summary = try CheckpointSummary(packed)
        #expect(summary.byteCount == packed.byteCount)
        let size = ModelSize(packed.configuration, floatType: .float32)
        #expect(size.packedOtherBytes == summary.otherBytes)

        let again = root.appending(path: "again")
        try CheckpointPacker(valueType: .float16).pack(student: packed, destination: again)
        for matrix in packed.configuration.embeddingTensors {
            for name in [matrix.name, matrix.rowScale.name] {
                let expected = try packed.withUnsafeBytes(of: name, Array.init)
                #expect(try Checkpoint(directory: again).withUnsafeBytes(of: name, Array.init) == expected)
            }
        }
        let floats = root.appending(path: "floats")
        try CheckpointPacker(valueType: .float32, embeddingFormat: .float).pack(student: packed, destination: floats)
        let unpacked = root.appending(path: "unpacked")
        try CheckpointPacker(valueType: .float32).unpack(packed: packed, destination: unpacked)
        for directory in [floats, unpacked] {
            let checkpoint = try Checkpoint(directory: directory)
            #expect(checkpoint.configuration.quantization?.embeddingFormat == .float)
            for matrix in packed.configuration.embeddingTensors {
                #expect(try checkpoint.floats(of: matrix.name) == packed.floats(of: matrix.name))
            }
        }
    }
}
