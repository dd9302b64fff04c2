import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import TestSupport
import Testing

/// scikit-learn's factorizations and the release's packing, on stories260K (shared/data/reference/onebit).
@Suite(.enabled(if: SharedData.isPresent, "the reference data is not beside the project"))
struct SignDecompositionConformanceTests {
    static let matrices = [
        "model.layers.0.self_attn.q_proj", "model.layers.2.mlp.down_proj", "model.layers.4.mlp.up_proj",
    ]

    private func reference() throws -> SafetensorsFile {
        try SafetensorsFile(contentsOf: SharedData.url("data/reference/onebit/bitlinear.safetensors"))
    }

    @Test("Residual and product equal scikit-learn's NMF", arguments: matrices, [DecompositionMethod.nmf, .svd])
    func againstScikitLearn(name: String, method: DecompositionMethod) throws {
        let file = try reference()
        let shape = try #require(file.tensors["\(name).W"]?.shape)
        let weight = try file.floats(of: "\(name).W")
        let h = try file.floats(of: "\(name).weight_scale")
        let g = try file.floats(of: "\(name).input_factor")
        for seed in [UInt64(0), 1, 2] {
            let result = try decompose(weight, rows: shape[0], columns: shape[1], method: method, seed: seed)
            var theirs = 0.0
            var difference = 0.0
            var norm = 0.0
            for row in 0..<shape[0] {
                for column in 0..<shape[1] {
                    let expected = Double(h[row]) * Double(g[column])
                    let found = Double(result.outputScale[row]) * Double(result.inputScale[column])
                    let magnitude = Double(weight[row * shape[1] + column].magnitude)
                    theirs += (magnitude - expected) * (magnitude - expected)
                    difference += (found - expected) * (found - expected)
                    norm += expected * expected
                }
            }
            #expect(result.residual <= 1.0001 * theirs.squareRoot())
            #expect(difference.squareRoot() <= 1e-3 * norm.squareRoot())
        }
    }

    private struct StartStep: Decodable {
        struct Layer: Decodable {
            let residual: Double
            enum CodingKeys: String, CodingKey { case residual = "reconstruction_err" }
        }
        let nmf: [String: Layer]
    }

    @Test("All 35 layers reach scikit-learn's reconstruction error")
    func everyLayer() throws {
        let step = try JSONDecoder().decode(
            StartStep.self,
            from: Data(contentsOf: SharedData.url("data/reference/onebit/start_step.json"))
        )
        let teacher = try Checkpoint(directory: SharedData.url("models/stories260K"))
        #expect(step.nmf.count == 35)
        for linear in teacher.configuration.linears {
            let theirs = try #require(step.nmf[linear.name]).residual
            let result = try decompose(
                try teacher.floats(of: linear.weightName),
                rows: linear.outputs,
                columns: linear.inputs,
                method: .nmf,
                seed: 0
            )
            #expect(result.residual <= 1.0001 * theirs, "\(linear.name)")
        }
    }

    @Test("Packing equals the release's, bit for bit")
    func packing() throws {
        let file = try reference()
        var count = 0
        for description in file.tensors.values
        where description.name.hasSuffix("packed") && description.elementType == .int8 {
            let stem = description.name.dropLast("packed".count)
            let source = ["sign", "weight"].map { stem + $0 }.first { file.tensors[$0] != nil }
            // The start layers store no weight: its signs are those of W.
            let name = source ?? stem.dropLast("start.".count) + "W"
            let shape = try #require(file.tensors[String(name)]?.shape)
            let signs = try SignMatrix(signsOf: file.floats(of: String(name)), rows: shape[0], columns: shape[1])
            try file.withUnsafeBytes(of: description.name) { #expect(Array($0) == signs.bytes, "\(description.name)") }
            count += 1
        }
        #expect(count == 9)
    }

    @Test("The start checkpoint has the release's names, signs and products")
    func startCheckpoint() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-start-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        let teacher = try Checkpoint(directory: SharedData.url("models/stories260K"))
        try StudentInitializer(recipe: .paper).run(teacher: teacher, destination: directory)
        let student = try Checkpoint(directory: directory)
        let theirs = try SafetensorsFile(contentsOf: SharedData.url("data/reference/onebit/student_start.safetensors"))
        #expect(Set(student.tensors.keys) == Set(theirs.tensors.keys))
        for (name, description) in theirs.tensors {
            #expect(student.tensors[name]?.shape == description.shape, "\(name)")
            if name.hasSuffix("_scale") || name.hasSuffix("_factor") { continue }
            #expect(try student.floats(of: name) == theirs.floats(of: name), "\(name)")
        }
    }
}
