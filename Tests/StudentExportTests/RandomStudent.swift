import Foundation
import JSON
import ModelDescription
import SignDecomposition
import TensorFiles
import TestSupport

/// A tiny teacher of random weights in a directory of its own, with a tokenizer, and students that start from it.
struct RandomStudent {
    let directory: TemporaryDirectory
    let checkpoint: Checkpoint

    /// - Parameters:
    ///   - config: keys of `config.json` besides those of every teacher here.
    ///   - layers: blocks of the model.
    ///   - recipe: what the start is made by.
    init(
        _ config: String = #""model_type": "llama""#, layers: Int = 2, recipe: StartRecipe = .standard,
        inputScales: QuantizationConfiguration.InputScales = .shared, isPacked: Bool = true,
        tokenizer: String = Self.byteLevelTokenizer
    ) throws {
        directory = try TemporaryDirectory()
        let teacher = directory.file("teacher")
        try FileManager.default.createDirectory(at: teacher, withIntermediateDirectories: true)
        let common = """
            "vocab_size": 40, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": \(layers),
            "num_attention_heads": 6, "num_key_value_heads": 3, "max_position_embeddings": 64, "bos_token_id": 0,
            "eos_token_id": 1
            """
        try Data("{\(config), \(common)}".utf8).write(to: teacher.appending(path: "config.json"))
        try Data(tokenizer.utf8).write(to: teacher.appending(path: "tokenizer.json"))
        try Data(#"{"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ messages }}"}"#.utf8)
            .write(to: teacher.appending(path: "tokenizer_config.json"))
        let configuration = try ModelConfiguration(contentsOf: teacher.appending(path: "config.json"))
        let plan = configuration.tensorPlan(kind: .dense, weightType: .float32, valueType: .float32) { _ in .float32 }
        let writer = try CheckpointWriter(directory: teacher, tensors: plan)
        var random = SplitMix64(seed: 7)
        for tensor in plan {
            // Norms and biases are vectors.
            let (center, spread): (Float, Float) =
                tensor.shape.count > 1 ? (0, 0.6) : tensor.name.hasSuffix(".bias") ? (0, 0.3) : (1, 0.4)
            try writer.write(
                tensor.name,
                floats: (0..<tensor.elementCount).map { _ in
                    center + spread * Float.random(in: -1...1, using: &random)
                })
        }
        try writer.finish()
        var recipe = recipe
        recipe.inputScales = inputScales
        try StudentInitializer(recipe: recipe, seed: 1).run(
            teacher: Checkpoint(directory: teacher), destination: directory.file("start"))
        let start = try Checkpoint(directory: directory.file("start"))
        if isPacked {
            try CheckpointPacker().pack(student: start, destination: directory.file("packed"))
            checkpoint = try Checkpoint(directory: directory.file("packed"))
        } else {
            checkpoint = start
        }
    }

    /// Letters, a space and some merges, spelled in bytes.
    static let byteLevelTokenizer: String = {
        let tokens = ["<s>", "</s>"] + "abcdefghijklmnopqrstuvwxyz.,".map(String.init) + ["Ġ", "Ġa", "th", "the"]
        return """
            {"added_tokens": [\(added(0, "<s>")), \(added(1, "</s>"))], "decoder": {"type": "ByteLevel"},
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
             "post_processor": {"type": "TemplateProcessing", "single": [
               {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
              "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
             "model": {"type": "BPE", "vocab": \(vocabulary(tokens)), "merges": ["Ġ a", "t h", "th e"]}}
            """
    }()

    /// Letters and "▁" for a space, bytes as a fallback.
    static let sentencePieceTokenizer: String = {
        let tokens =
            ["<unk>", "<s>", "</s>", "<0x0A>", "▁"] + "abcdefghijklmnopqrstuvwxyz".map(String.init)
            + ["▁a", "th", "the", "▁the"]
        return """
            {"added_tokens": [\(added(0, "<unk>")), \(added(1, "<s>")), \(added(2, "</s>"))],
             "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
             "decoder": {"type": "Sequence", "decoders": [
               {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
               {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
             "model": {"type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>",
              "vocab": \(vocabulary(tokens)), "merges": ["▁ a", "t h", "th e", "▁ the"]}}
            """
    }()

    private static func added(_ id: Int, _ content: String) -> String {
        """
        {"id": \(id), "content": "\(content)", "single_word": false, "lstrip": false, "rstrip": false, \
        "normalized": false, "special": true}
        """
    }

    private static func vocabulary(_ tokens: [String]) -> String {
        "{" + tokens.enumerated().map { "\"\($1)\": \($0)" }.joined(separator: ", ") + "}"
    }
}
