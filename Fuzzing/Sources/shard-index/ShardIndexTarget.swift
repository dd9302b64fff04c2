import Foundation
import FuzzSupport
import JSON
import ModelDescription
import TensorFiles

// The input is `model.safetensors.index.json` beside two shards, "a" and "b", of a checkpoint of a tiny LLaMA.

private let directory: ScratchDirectory = {
    let directory = ScratchDirectory()
    directory.put(
        """
        {"model_type": "llama", "vocab_size": 1, "hidden_size": 2, "intermediate_size": 1, "num_hidden_layers": 1,
         "num_attention_heads": 1, "tie_word_embeddings": true}
        """,
        at: "config.json"
    )
    let attention = ["q", "k", "v", "o"].map { ("model.layers.0.self_attn.\($0)_proj.weight", [2, 2]) }
    let mlp = [("gate", [1, 2]), ("up", [1, 2]), ("down", [2, 1])].map { ("model.layers.0.mlp.\($0)_proj.weight", $1) }
    let norms = ["model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm"]
    putShard("a", attention + [("spare", [0])], in: directory)
    putShard(
        "b", mlp + norms.map { ("\($0).weight", [2]) } + [("model.embed_tokens.weight", [1, 2]), ("spare", [1])],
        in: directory
    )
    return directory
}()

/// Writes a safetensors file of zeros.
private func putShard(_ name: String, _ tensors: [(name: String, shape: [Int])], in directory: ScratchDirectory) {
    var end = 0
    let entries = tensors.map { tensor in
        let begin = end
        end += 2 * tensor.shape.reduce(1, *)
        return #""\#(tensor.name)":{"dtype":"F16","shape":\#(tensor.shape),"data_offsets":[\#(begin),\#(end)]}"#
    }
    let header = Array("{\(entries.joined(separator: ","))}".utf8)
    let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
    (length + header + [UInt8](repeating: 0, count: end)).withUnsafeBytes { directory.put($0, at: name) }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    directory.put(FuzzInput(start, count)[0], at: "model.safetensors.index.json")
    let checkpoint = refusing(
        with: CheckpointError.self, ConfigurationError.self, JSONNodeError.self, TensorFileError.self,
        SafetensorsError.self, FileError.self
    ) { try Checkpoint(directory: directory.url) }
    if let checkpoint {
        for name in checkpoint.tensors.keys {
            let floats = refusing(with: TensorFileError.self) { try checkpoint.floats(of: name) }
            require(floats?.allSatisfy { $0 == 0 } == true, "the shards hold zeros")
        }
    }
    return 0
}
