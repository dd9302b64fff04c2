import Foundation
import TensorFiles
import TestSupport

/// A GGUF file of a tiny LLaMA with a tokenizer, written by hand: what the tests change and read.
struct GGUFFixture {
    var metadata = GGUFMetadata(file: "fixture")
    var tensors: [GGUFTensorDescription] = []

    init(architecture: String = "llama", tokens: [String] = [], types: [Int32]? = nil) {
        let prefix = architecture
        metadata["general.architecture"] = .string(architecture)
        metadata["\(prefix).block_count"] = .uint32(1)
        metadata["\(prefix).context_length"] = .uint32(32)
        metadata["\(prefix).embedding_length"] = .uint32(8)
        metadata["\(prefix).feed_forward_length"] = .uint32(10)
        metadata["\(prefix).attention.head_count"] = .uint32(2)
        metadata["\(prefix).attention.head_count_kv"] = .uint32(1)
        metadata["\(prefix).attention.layer_norm_rms_epsilon"] = .float32(1e-5)
        if !tokens.isEmpty {
            metadata["tokenizer.ggml.tokens"] = .array(GGUFArray(tokens))
            metadata["tokenizer.ggml.token_type"] = .array(
                GGUFArray(types ?? [Int32](repeating: 1, count: tokens.count)))
        }
        let rows = max(tokens.count, 12)
        let shapes: [(String, [Int])] = [
            ("token_embd.weight", [rows, 8]), ("blk.0.attn_norm.weight", [8]), ("blk.0.ffn_norm.weight", [8]),
            ("blk.0.attn_q.weight", [8, 8]), ("blk.0.attn_k.weight", [4, 8]), ("blk.0.attn_v.weight", [4, 8]),
            ("blk.0.attn_output.weight", [8, 8]), ("blk.0.ffn_gate.weight", [10, 8]), ("blk.0.ffn_up.weight", [10, 8]),
            ("blk.0.ffn_down.weight", [8, 10]), ("output_norm.weight", [8]),
        ]
        tensors = shapes.map { GGUFTensorDescription(name: $0.0, type: .f32, shape: $0.1) }
    }

    /// Writes the file, weights counting up.
    @discardableResult
    func write(to directory: TemporaryDirectory, as name: String = "model.gguf") throws -> URL {
        let url = directory.file(name)
        let writer = try GGUFWriter(destination: url, metadata: metadata, tensors: tensors)
        for tensor in tensors {
            try writer.write(tensor.name, floats: (0..<tensor.shape.reduce(1, *)).map { Float($0 % 129) / 64 - 1 })
        }
        try writer.finish()
        return url
    }
}
