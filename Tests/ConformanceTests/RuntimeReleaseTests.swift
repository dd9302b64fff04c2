import Foundation
import ModelFiles
import OneBitRuntime
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

    /// stories260K's configuration with the start student's tensors, the latent weights packed by their signs.
    private func packStartStudent() throws -> URL {
        let student = try SafetensorsFile(contentsOf: SharedData.url("data/reference/onebit/student_start.safetensors"))
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-release-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let dense = try ModelConfiguration(contentsOf: SharedData.url("models/stories260K/config.json"))
        let quantization = QuantizationConfiguration(
            checkpointFormat: .packed, postLayerNorm: true, valueType: .float32)
        let config = directory.appending(path: "config.json")
        try dense.jsonData(quantization: quantization).write(to: config)
        let configuration = try ModelConfiguration(contentsOf: config)
        let plan = configuration.tensorPlan(kind: .packed, weightType: .int8, valueType: .float32) { _ in .float32 }
        let writer = try CheckpointWriter(directory: directory, tensors: plan)
        for tensor in plan {
            let values = try student.floats(of: tensor.name)
            guard tensor.elementType == .int8 else {
                try writer.write(tensor.name, floats: values)
                continue
            }
            let columns = values.count / tensor.shape[0]
            var bytes = [UInt8](repeating: 0, count: tensor.byteCount)
            for (index, value) in values.enumerated() where value < 0 {
                let (row, column) = index.quotientAndRemainder(dividingBy: columns)
                bytes[row * tensor.shape[1] + column / 8] |= 1 << (column % 8)
            }
            try bytes.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
        }
        try writer.finish()
        return directory
    }
}
