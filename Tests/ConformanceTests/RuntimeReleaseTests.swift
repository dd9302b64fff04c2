import Foundation
import ModelDescription
import OneBitRuntime
import SignDecomposition
import TensorFiles
import TestSupport
import Testing

/// The packed runtime against the reference implementation of the paper: the start student of stories260K, packed.
@Suite(.enabled(if: SharedData.isPresent, "needs ../shared"))
struct RuntimeReleaseTests {
    @Test("Packed logits equal the reference student's within 1e-3 relative, on four sequences")
    func startStudent() throws {
        let directory = try packStartStudent()
        defer { try? FileManager.default.removeItem(at: directory) }
        let model = try PackedModel(
            directory: directory, options: LoadOptions(inputPrecision: .bits16, layoutPolicy: .memory))
        let reference = try SafetensorsFile(contentsOf: SharedData.url("data/reference/onebit/start_step.safetensors"))
        let expected = try reference.floats(of: "student_logits")
        let ids = try reference.withUnsafeBytes(of: "input_ids") { bytes -> [Int] in
            reference.tensors["input_ids"]?.elementType == .int64
                ? (0..<4 * 64).map { Int(bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self)) }
                : (0..<4 * 64).map { Int(bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Int32.self)) }
        }
        for sequence in 0..<4 {
            let found = try model.logits(of: Array(ids[sequence * 64..<(sequence + 1) * 64]))
            let right = expected[sequence * 64 * 512..<(sequence + 1) * 64 * 512]
            let scale = try #require(right.map(\.magnitude).max())
            let error = try #require(zip(found, right).map { ($0 - $1).magnitude }.max())
            #expect(error / scale < 1e-3, "sequence \(sequence)")
        }
    }

    /// The start student as the release's float form, packed.
    private func packStartStudent() throws -> URL {
        let root = FileManager.default.temporaryDirectory.appending(path: "onebit-release-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: root) }
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            at: SharedData.url("data/reference/onebit/student_start.safetensors"),
            to: root.appending(path: "model.safetensors"))
        let dense = try String(contentsOf: SharedData.url("models/stories260K/config.json"), encoding: .utf8)
        try dense.replacingOccurrences(of: "\"LlamaForCausalLM\"", with: "\"BitLlamaForCausalLM\"")
            .replacingOccurrences(of: "\"model_type\": \"llama\"", with: "\"model_type\": \"bitllama\"")
            .write(to: root.appending(path: "config.json"), atomically: false, encoding: .utf8)
        let packed = FileManager.default.temporaryDirectory.appending(path: "onebit-packed-\(UUID().uuidString)")
        try CheckpointPacker(valueType: nil).pack(student: Checkpoint(directory: root), destination: packed)
        return packed
    }
}
