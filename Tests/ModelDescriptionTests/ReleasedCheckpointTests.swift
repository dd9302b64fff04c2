import Foundation
import JSON
import ModelDescription
import TensorFiles
import TestSupport
import Testing

/// Checkpoints in the form that the paper's authors released: `scripts/reference/pytorch_checkpoints.py`.
struct ReleasedCheckpointTests {
    private func directory(_ form: String) -> URL { Reference.url("release-\(form)") }

    @Test("The class says whether a released checkpoint is packed; the rest is the paper's")
    func kinds() throws {
        for (form, kind) in [("float", CheckpointKind.floatStudent), ("packed", .packed)] {
            let checkpoint = try Checkpoint(directory: directory(form))
            #expect(checkpoint.kind == kind)
            #expect(checkpoint.configuration.modelType == "llama")
            let quantization = try #require(checkpoint.configuration.quantization)
            #expect(quantization.postLayerNorm)
            #expect(quantization.layerNormEpsilon == 1e-5)
            #expect(quantization.valueType == .float32)
            #expect(checkpoint.tensors.count == 7 * 3 + 5)
            for linear in checkpoint.configuration.linears {
                #expect(try checkpoint.description(of: linear.outputScaleName).elementType == .float32)
                let weight = try checkpoint.description(of: linear.weightName)
                #expect(weight.elementType == (kind == .packed ? .int8 : .float32))
            }
        }
    }

    @Test("A set bit is a negative latent weight, least significant bit first, and zero is positive")
    func bits() throws {
        let float = try Checkpoint(directory: directory("float"))
        let packed = try Checkpoint(directory: directory("packed"))
        for linear in float.configuration.linears {
            let latent = try float.floats(of: linear.weightName)
            let expected = stride(from: 0, to: latent.count, by: 8).map { start in
                (0..<8).reduce(UInt8(0)) { $0 | (latent[start + $1] < 0 ? 1 << $1 : 0) }
            }
            try packed.withUnsafeBytes(of: linear.weightName) { #expect(Array($0) == expected) }
        }
    }

    @Test("Written again, the configuration is a LLaMA's with this project's quantization_config")
    func writtenAgain() throws {
        let configuration = try Checkpoint(directory: directory("packed")).configuration
        let target = try TemporaryDirectory()
        let url = try target.write(configuration.jsonData(quantization: configuration.quantization), as: "config.json")
        let text = try String(contentsOf: url, encoding: .utf8)
        #expect(text.contains("\"LlamaForCausalLM\"") && !text.contains("itllama"))
        let read = try ModelConfiguration(contentsOf: url)
        #expect(read == configuration)
        #expect(read.kind == .packed)
    }

    @Test(
        "Another class, or none, is refused",
        arguments: [nil, "[]", "[\"LlamaForCausalLM\"]", "[\"BitLlamaForCausalLM\", \"BitLlamaForCausalLMInf\"]"]
    )
    func otherClass(architectures: String?) throws {
        let target = try TemporaryDirectory()
        let text = TinyModel.configuration(["model_type": "\"bitllama\"", "architectures": architectures])
        let url = try target.write(text, as: "config.json")
        #expect(throws: JSONNodeError.self) { try ModelConfiguration(contentsOf: url) }
    }
}
