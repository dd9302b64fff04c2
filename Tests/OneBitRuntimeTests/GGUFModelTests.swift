import Foundation
import LanguageModel
import ModelDescription
import TensorFiles
import TestSupport
import Testing

@testable import OneBitRuntime

/// Tiny models of the families as GGUF files, in the order of rows that llama.cpp's converter gives them, against transformers:
/// `scripts/reference/gguf_files.py`, with gguf 0.19.0 and transformers 5.23.0.
@Suite("Models that are GGUF files")
struct GGUFModelTests {
    private func reference(_ name: String) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Reference/\(name)")
    }

    @Test(
        "Logits are those of transformers with keys and values in half precision",
        arguments: [
            "llama", "llama3", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "granite", "phi3", "stablelm", "gemma2",
            "gemma3_text",
        ])
    func logits(name: String) throws {
        let checkpoint = try Checkpoint(directory: reference("\(name).gguf"))
        let expected = try SafetensorsFile(contentsOf: reference("\(name).safetensors"))
        let tokens = try expected.withUnsafeBytes(of: "input_ids") { bytes in
            (0..<bytes.count / 8).map { Int(bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self)) }
        }
        let model = try DenseModel(checkpoint: checkpoint, threads: 1)
        let found = try model.states(of: tokens).logits
        let wanted = try expected.floats(of: "logits")
        try #require(found.count == wanted.count)
        let largest = wanted.map(\.magnitude).max() ?? 0
        let difference = zip(found, wanted).map { ($0 - $1).magnitude }.max() ?? .infinity
        #expect(difference < 1e-4 * largest, "\(difference / largest)")
        #expect(checkpoint.configuration.modelType == (name == "llama3" ? "llama" : name))
    }

    @Test("Only queries and keys are in memory of their own where the weights are floats")
    func memory() throws {
        let llama = try Checkpoint(directory: reference("llama3.gguf"))
        // Queries [32, 32] and keys [16, 32] of two layers, in float16.
        #expect(llama.convertedByteCount == 2 * (32 + 16) * 32 * 2)
        let qwen = try Checkpoint(directory: reference("qwen3.gguf"))
        #expect(qwen.convertedByteCount == 0)
        #expect(try llama.storage(of: "model.layers.0.self_attn.q_proj.weight") == ("F16", 32 * 32 * 2))
    }
}
