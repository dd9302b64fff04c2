import Foundation
import ModelDescription
import TensorFiles
import TestSupport

/// A LLaMA checkpoint of a few hundred weights, written by hand: what the tests change and read.
enum TinyModel {
    static func configuration(_ changes: [String: String?] = [:]) -> String {
        var members: [String: String] = [
            "model_type": "\"llama\"", "vocab_size": "12", "hidden_size": "8", "intermediate_size": "10",
            "num_hidden_layers": "2", "num_attention_heads": "2", "num_key_value_heads": "1",
            "max_position_embeddings": "32", "rms_norm_eps": "1e-5", "rope_theta": "10000.0",
            "tie_word_embeddings": "false", "hidden_act": "\"silu\"", "bos_token_id": "1", "eos_token_id": "2",
        ]
        for (key, value) in changes { members[key] = value }
        let pairs = members.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }
        return "{\(pairs.joined(separator: ", "))}"
    }

    /// Writes a dense checkpoint whose weights count up from −1 in steps of 1/64, exact in every float type.
    static func write(
        to directory: TemporaryDirectory,
        changes: [String: String?] = [:],
        type: ElementType = .float32,
        shardByteLimit: Int = .max / 4,
        edit: ([TensorDescription]) -> [TensorDescription] = { $0 }
    ) throws {
        try directory.write(configuration(changes), as: "config.json")
        let configuration = try ModelConfiguration(contentsOf: directory.url.appending(path: "config.json"))
        let plan = edit(
            configuration.tensorPlan(kind: .dense, weightType: type, valueType: type) { _ in type }
        )
        let writer = try CheckpointWriter(directory: directory.url, tensors: plan, shardByteLimit: shardByteLimit)
        for tensor in plan { try writer.write(tensor.name, floats: values(of: tensor)) }
        try writer.finish()
    }

    static func values(of tensor: TensorDescription) -> [Float] {
        (0..<tensor.elementCount).map { Float($0 % 129) / 64 - 1 }
    }
}
