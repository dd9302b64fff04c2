import Foundation
import JSON
import ModelDescription
import OneBitRuntime
import SignDecomposition
import TensorFiles
import Testing

@testable import OneBitTraining

@Suite("Students of every family")
struct FamilyDistillationTests {
    struct Family: CustomTestStringConvertible {
        let type: String
        var keys: [(String, JSONValue)] = []
        var testDescription: String { ([type] + keys.map { "\($0.0) \($0.1.summary)" }).joined(separator: ", ") }

        func configuration() throws -> ModelConfiguration {
            let width = type == "opt" ? "ffn_dim" : "intermediate_size"
            return try ModelConfiguration(
                JSONObject(
                    [
                        ("model_type", .string(type)), ("vocab_size", .integer(32)), ("hidden_size", .integer(16)),
                        (width, .integer(24)), ("num_hidden_layers", .integer(2)),
                        ("num_attention_heads", .integer(4)), ("max_position_embeddings", .integer(32)),
                    ] + (type == "opt" ? [] : [("num_key_value_heads", .integer(2))]) + keys))
        }
    }

    static let families = [
        Family(type: "llama"),
        Family(type: "llama", keys: [("attention_bias", .boolean(true)), ("mlp_bias", .boolean(true))]),
        Family(type: "mistral", keys: [("sliding_window", .integer(4))]),
        Family(type: "qwen2"),
        Family(type: "qwen3", keys: [("head_dim", .integer(8))]),
        Family(type: "smollm3", keys: [("no_rope_layer_interval", .integer(2))]),
        Family(type: "olmo2"),
        Family(
            type: "gemma3_text",
            keys: [
                ("head_dim", .integer(8)), ("sliding_window", .integer(4)), ("sliding_window_pattern", .integer(2)),
                ("query_pre_attn_scalar", .integer(8)),
            ]),
        Family(
            type: "gemma2",
            keys: [
                ("head_dim", .integer(8)), ("sliding_window", .integer(4)), ("query_pre_attn_scalar", .integer(8)),
                ("attn_logit_softcapping", .number(2)), ("final_logit_softcapping", .number(5)),
            ]),
        Family(type: "phi3", keys: [("partial_rotary_factor", .number(0.5))]),
        Family(type: "stablelm", keys: [("partial_rotary_factor", .number(0.5))]),
        Family(
            type: "granite",
            keys: [
                ("embedding_multiplier", .number(4)), ("attention_multiplier", .number(0.3)),
                ("residual_multiplier", .number(0.5)), ("logits_scaling", .number(2)),
            ]),
        Family(type: "opt"),
        Family(
            type: "opt", keys: [("do_layer_norm_before", .boolean(false)), ("word_embed_proj_dim", .integer(8))]),
    ]

    @Test("A student distills, packs without loss, and generates", arguments: families)
    func allStages(family: Family) throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        func url(_ name: String) -> URL { folder.appending(path: name) }
        let configuration = try family.configuration()
        // Pretrained a little, so that there is something to learn from it.
        try FileManager.default.createDirectory(at: url("teacher"), withIntermediateDirectories: true)
        try configuration.jsonData(quantization: nil).write(to: url("teacher/config.json"))
        try Pretrainer(configuration: configuration, elementType: .float32, seed: 5).run(
            tokens: TinyModels.tokens, configuration: TinyModels.pretraining(steps: 150), into: url("teacher"),
            checkpoints: nil, observe: { _ in })
        let teacher = try Checkpoint(directory: url("teacher"))
        try StudentInitializer(recipe: .standard).run(teacher: teacher, destination: url("start"))
        let events = try Distiller(
            teacher: teacher, start: try Checkpoint(directory: url("start")),
            configuration: TinyModels.distillation(.default(for: configuration), steps: 60),
            execution: Execution(threads: 2, microBatchSize: 2)
        ).run(
            corpus: TinyModels.tokens, output: url("student"), overwrite: false, checkpoints: nil, observe: { _ in })
        let divergence = events.compactMap { $0.parts["kl_per_token"] }
        let (first, last) = (divergence.prefix(5).reduce(0, +), divergence.suffix(5).reduce(0, +))
        #expect(last < first / 2, "KL per token: \(first / 5) at first, \(last / 5) at last")

        let student = try Checkpoint(directory: url("student"))
        try CheckpointPacker().pack(student: student, destination: url("packed"))
        let packed = try PackedModel(
            directory: url("packed"), options: LoadOptions(threads: 1, inputPrecision: .bits16))
        let tokens = TinyModels.ids.prefix(24).map(Int.init)
        let expected = try TorchModel(checkpoint: student, threads: 1).logits(of: tokens)
        let found = try packed.logits(of: tokens)
        let difference = zip(found, expected).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) }
        let norm = expected.reduce(0.0) { $0 + pow(Double($1), 2) }
        #expect((difference / norm).squareRoot() < 1e-3)

        var parameters = GenerateParameters.greedy
        parameters.maxTokens = 5
        var text = ""
        _ = try generate(prompt: [3, 4, 5], model: packed, tokenizer: LetterTokenizer(), parameters: parameters) {
            text += $0
        }
        #expect(!text.isEmpty)
    }
}
