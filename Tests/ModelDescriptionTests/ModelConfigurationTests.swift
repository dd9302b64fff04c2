import Foundation
import JSON
import ModelDescription
import TensorFiles
import TestSupport
import Testing

struct ModelConfigurationTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func read(_ changes: [String: String?] = [:]) throws -> ModelConfiguration {
        try ModelConfiguration(contentsOf: directory.write(TinyModel.configuration(changes), as: "config.json"))
    }

    private func error(_ key: String, _ value: String?) -> JSONNodeError? {
        #expect(throws: JSONNodeError.self, "\(key): \(value ?? "missing")") { try read([key: value]) }
    }

    private func configurationError(_ key: String, _ value: String?) -> ConfigurationError? {
        #expect(throws: ConfigurationError.self, "\(key): \(value ?? "missing")") { try read([key: value]) }
    }

    @Test("Every number is read, with the family's defaults where a key is missing or null")
    func reading() throws {
        let read = try read()
        #expect(read.vocabularySize == 12)
        #expect(read.headSize == 4)
        #expect(read.keyValueHeadCount == 1)
        #expect(read.normEpsilon == 1e-5)
        #expect(read.endOfSequence == [2])
        let sparse = try self.read([
            "num_key_value_heads": "null", "rms_norm_eps": nil, "rope_theta": nil, "tie_word_embeddings": nil,
            "bos_token_id": "null", "eos_token_id": nil, "hidden_act": nil, "max_position_embeddings": nil,
            "rope_scaling": "null", "attention_bias": "null",
        ])
        #expect(sparse.keyValueHeadCount == 2)
        #expect(sparse.normEpsilon == 1e-6)
        #expect(sparse.structure.positions == .rotary(RotaryPositions(base: 10_000)))
        #expect(!sparse.tiedEmbeddings)
        #expect(sparse.beginOfSequence == nil)
        #expect(sparse.endOfSequence == [2])
        #expect(sparse.maximumPositions == 2048)
        #expect(sparse.warnings.isEmpty)
    }

    @Test(
        "A missing key stands for its family's default, null for what transformers makes of it",
        arguments: [
            ("llama", 8, 2048, nil), ("mistral", 8, 131_072, 4096), ("qwen2", 32, 32_768, nil),
            ("qwen3", 32, 32_768, nil),
        ] as [(String, Int, Int, Int?)]
    )
    func defaults(family: String, heads: Int, positions: Int, window: Int?) throws {
        let changes: [String: String?] = [
            "model_type": "\"\(family)\"", "num_attention_heads": "32", "hidden_size": "128",
        ]
        let absent: [String: String?] = ["num_key_value_heads": nil, "max_position_embeddings": nil, "head_dim": nil]
        let missing = try read(changes.merging(absent) { $1 })
        #expect(missing.keyValueHeadCount == (family == "llama" ? 32 : heads))
        #expect(missing.maximumPositions == positions)
        #expect(missing.headSize == (family == "qwen3" ? 128 : 4))
        #expect(missing.structure.slidingWindow == window)
        let nulls: [String: String?] = [
            "num_key_value_heads": "null", "max_position_embeddings": "null", "head_dim": "null",
            "sliding_window": "null",
        ]
        let null = try read(changes.merging(nulls) { $1 })
        #expect(null.keyValueHeadCount == 32)
        #expect(null.maximumPositions == positions)
        #expect(null.headSize == 4)
        #expect(null.structure.slidingWindow == nil)
    }

    @Test("A window of null is none in Qwen, whatever else says that it is used")
    func windowOfNull() throws {
        for family in ["\"qwen2\"", "\"qwen3\""] {
            let changes: [String: String?] = [
                "model_type": family, "use_sliding_window": "true", "max_window_layers": "0", "head_dim": "4",
            ]
            let null = try read(changes.merging(["sliding_window": "null"]) { $1 }).structure
            #expect(null.slidingWindow == nil && null.windowedLayers.isEmpty)
            let missing = try read(changes.merging(["sliding_window": nil]) { $1 }).structure
            #expect(missing.slidingWindow == 4096 && missing.windowedLayers == [0, 1])
            let types = "[\"full_attention\", \"sliding_attention\"]"
            #expect(
                try read(changes.merging(["sliding_window": "8", "layer_types": types]) { $1 }).structure.windowedLayers
                    == [1])
            #expect(throws: JSONNodeError.self) {
                try read(changes.merging(["sliding_window": "null", "layer_types": types]) { $1 })
            }
        }
    }

    @Test("Of rope_scaling and rope_parameters the first counts unless it is null or empty, as in transformers")
    func rotaryPrecedence() throws {
        let linear = "{\"type\": \"linear\", \"factor\": 4.0}"
        let parameters = "{\"rope_type\": \"default\", \"rope_theta\": 500000.0}"
        func positions(_ scaling: String, _ parameters: String) throws -> DecoderStructure.Positions {
            try read(["rope_scaling": scaling, "rope_parameters": parameters]).structure.positions
        }
        #expect(
            try positions(linear, parameters) == .rotary(RotaryPositions(base: 10_000, scaling: .linear(factor: 4))))
        for empty in ["null", "{}"] {
            #expect(try positions(empty, parameters) == .rotary(RotaryPositions(base: 500_000)))
        }
        #expect(try positions("{}", "null") == .rotary(RotaryPositions(base: 10_000)))
    }

    @Test("Llama 3's original positions are the scaling's own, or all; dynamic scaling counts from all")
    func originalPositions() throws {
        func scaling(_ type: String, _ original: String?) throws -> RotaryPositions.Scaling? {
            let read = try read([
                "original_max_position_embeddings": original,
                "rope_scaling": """
                {"rope_type": "\(type)", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                 "original_max_position_embeddings": 8}
                """,
            ])
            guard case .rotary(let rotary) = read.structure.positions else { return nil }
            return rotary.scaling
        }
        func llama3(_ original: Int) -> RotaryPositions.Scaling {
            .llama3(factor: 2, lowFrequencyFactor: 1, highFrequencyFactor: 4, original: original)
        }
        #expect(try scaling("llama3", nil) == llama3(8))
        #expect(try scaling("llama3", "16") == llama3(8))
        #expect(try scaling("dynamic", nil) == .dynamic(factor: 2, original: 32))
    }

    @Test("Newer files' rope_parameters and head_dim are read")
    func newerKeys() throws {
        let read = try read([
            "rope_theta": nil, "rope_parameters": "{\"rope_type\": \"default\", \"rope_theta\": 500000.0}",
            "head_dim": "6",
        ])
        #expect(read.structure.positions == .rotary(RotaryPositions(base: 500_000)))
        #expect(read.headSize == 6)
        #expect(read.blockLinears(layer: 1).map(\.outputs) == [12, 6, 6, 8, 10, 10, 8])
        #expect(read.blockLinears(layer: 1)[3].inputs == 12)
    }

    @Test("generation_config.json adds its end-of-sequence tokens")
    func generationConfiguration() throws {
        try directory.write("{\"eos_token_id\": [1, 2]}", as: "generation_config.json")
        #expect(try read().endOfSequence == [2, 1])
        try directory.write("{\"eos_token_id\": [99], \"bos_token_id\": 7}", as: "generation_config.json")
        let found = try read(["bos_token_id": "null"])
        #expect(found.beginOfSequence == 7)
        #expect(found.endOfSequence == [2])
        #expect(found.warnings.first?.contains("generation_config.json") == true)
    }

    @Test("Half a million end-of-sequence tokens are read in time linear in their number", .timeLimit(.minutes(2)))
    func manyEnds() throws {
        try directory.write("{\"eos_token_id\": \(Array(150_000..<450_000))}", as: "generation_config.json")
        let read = try read(["vocab_size": "1000000", "eos_token_id": "\(Array(0..<300_000))"])
        #expect(read.endOfSequence == Array(0..<450_000))
    }

    @Test(
        "A setting that changes the mathematics is refused by name",
        arguments: [
            ("hidden_act", "\"gelu\""), ("partial_rotary_factor", "0.5"), ("sliding_window", "64"),
            ("rope_scaling.rope_type", "{\"rope_type\": \"proportional\", \"factor\": 2.0}"),
            ("rope_scaling.type", "{\"type\": \"su\"}"),
            (
                "rope_scaling.partial_rotary_factor",
                "{\"type\": \"linear\", \"factor\": 2.0, \"partial_rotary_factor\": 0.5}"
            ),
            ("rope_scaling.full_attention", "{\"full_attention\": {\"rope_type\": \"default\"}}"),
            ("attention_multiplier", "0.0078125"), ("final_logit_softcapping", "30.0"), ("num_local_experts", "8"),
            ("residual_multiplier", "0.22"), ("use_qk_norm", "true"), ("attn_logit_softcapping", "50"),
            ("layer_types[0]", "[\"sliding_attention\", \"full_attention\"]"), ("is_causal", "false"),
        ]
    )
    func unsupportedSettings(key: String, value: String) {
        let outer = key.split { ".[".contains($0) }.first.map(String.init) ?? key
        let found = error(outer, value)
        guard case .unsupported? = found?.problem, found?.key == key else { return fail("another error") }
    }

    @Test("A key that is not known is refused by name, or passed over with a warning where that is allowed")
    func unknownKeys() throws {
        let found = configurationError("logit_warp", "{\"a\": 1}")
        let file = directory.url.appending(path: "config.json")
        #expect(found == .unknownKeys(file: file.path, keys: ["logit_warp"], modelType: "llama"))
        let allowed = try ModelConfiguration(contentsOf: file, unknownKeys: .allowed)
        #expect(allowed.warnings.count == 1 && allowed.warnings[0].contains("logit_warp"))
        try TinyModel.write(to: directory)
        try directory.write(TinyModel.configuration(["logit_warp": "2"]), as: "config.json")
        #expect(throws: ConfigurationError.self) { try Checkpoint(directory: directory.url) }
        #expect(try !Checkpoint(directory: directory.url, unknownKeys: .allowed).configuration.warnings.isEmpty)
    }

    @Test("YaRN stretches the context, LongRoPE states it stretched; both take the original one from outside too")
    func stretchedContexts() throws {
        let yarn = #"{"rope_type": "yarn", "factor": 4.0}"#
        #expect(try read(["rope_scaling": yarn]).maximumPositions == 128)
        let outside = try read(["rope_scaling": yarn, "original_max_position_embeddings": "8"])
        #expect(outside.maximumPositions == 32 && outside.warnings.isEmpty)
        func longRoPE(_ long: String) -> String {
            #"{"rope_type": "longrope", "short_factor": [1, 1], "long_factor": \#(long)}"#
        }
        let long = try read(["rope_scaling": longRoPE("[2, 3.5]"), "original_max_position_embeddings": "8"])
        #expect(long.maximumPositions == 32 && long.structure.dependsOnLength)
        #expect(long.warnings.isEmpty)
        for factors in ["[2]", "[2, 3, 4]", "[]"] {
            guard case .inconsistent? = configurationError("rope_scaling", longRoPE(factors)) else {
                return fail("another error")
            }
        }
        #expect(error("rope_scaling", longRoPE("[2, 0]"))?.key == "rope_scaling.long_factor[1]")
        #expect(error("rope_scaling", #"{"rope_type": "yarn", "factor": 0}"#)?.key == "rope_scaling.factor")
    }

    @Test(
        "Keys of the scaling that its kind does not use have no effect, and a warning",
        arguments: [
            "{\"rope_type\": \"default\", \"factor\": 8.0}",
            "{\"type\": \"linear\", \"factor\": 4.0, \"finetuned\": true}",
            "{\"type\": \"linear\", \"factor\": 2.0, \"attention_factor\": 0.5}",
        ])
    func unusedScalingKeys(text: String) throws {
        let read = try read(["rope_scaling": text])
        #expect(read.warnings.count == 1)
        #expect(read.warnings.first?.contains("rope_scaling.") == true)
    }

    @Test(
        "Token ids that no row stands for are never generated: a warning, not an error",
        arguments: [
            ("eos_token_id", "12"), ("eos_token_id", "[-1, 3, 40]"), ("bos_token_id", "32000"), ("bos_token_id", "-1"),
        ]
    )
    func tokensBeyondRows(key: String, value: String) throws {
        let read = try read([key: value])
        #expect(read.warnings.count == 1 && read.warnings[0].contains(key))
        #expect(key == "bos_token_id" ? read.beginOfSequence == nil : read.endOfSequence == (value == "12" ? [] : [3]))
        #expect(throws: JSONNodeError.self) { try self.read([key: "\"</s>\""]) }
    }

    @Test("Gemma's caps: a missing key is the family's own, null is none; Gemma 3 has one of the logits only")
    func softCaps() throws {
        func structure(_ type: String, _ keys: [(String, JSONValue)] = []) throws -> DecoderStructure {
            try ModelConfiguration(
                JSONObject(
                    [
                        ("model_type", .string(type)), ("vocab_size", .integer(32)), ("hidden_size", .integer(16)),
                        ("intermediate_size", .integer(24)), ("num_hidden_layers", .integer(4)),
                        ("num_attention_heads", .integer(4)),
                    ] + keys)
            ).structure
        }
        func caps(_ value: JSONValue) -> [(String, JSONValue)] {
            [("attn_logit_softcapping", value), ("final_logit_softcapping", value)]
        }
        let own = try structure("gemma2")
        #expect(own.attentionSoftCap == 50 && own.logitSoftCap == 30)
        #expect(own.windowedLayers == [0, 2] && own.slidingWindow == 4096 && own.attentionScale == 1 / 16)
        #expect(own.queryKeyNorm == nil && own.windowedRotation == nil && own.embeddingMultiplier == 4)
        let none = try structure("gemma2", caps(.null))
        #expect(none.attentionSoftCap == nil && none.logitSoftCap == nil)
        #expect(try structure("gemma2", caps(.number(0.5))).attentionSoftCap == 0.5)
        #expect(throws: JSONNodeError.self) { try structure("gemma2", caps(.integer(0))) }
        // The first release's files have the window under another name too.
        #expect(try structure("gemma2", [("sliding_window_size", .integer(4096))]).slidingWindow == 4096)
        let third = try structure("gemma3_text", caps(.integer(20)))
        #expect(third.attentionSoftCap == nil && third.logitSoftCap == 20)
        #expect(try structure("gemma3_text", caps(.null)).logitSoftCap == nil)
    }

    @Test(
        "Keys that say nothing of the computation pass, known or not",
        arguments: [
            ("attention_dropout", "0.1"), ("initializer_range", "0.02"), ("pretraining_tp", "1"), ("_name", "\"x\""),
            ("sliding_window", "null"), ("use_experts", "false"), ("unsloth_version", "\"2024.9\""),
            ("pruned_heads", "{}"), ("temperature", "0.9"), ("do_sample", "true"), ("use_flash_attn", "true"),
            ("hidden_act", "\"swish\""), ("partial_rotary_factor", "1.0"), ("embedding_multiplier", "1.0"),
            ("layer_types", "[\"full_attention\", \"full_attention\"]"), ("id2label", "{\"0\": \"LABEL_0\"}"),
        ]
    )
    func harmlessKeys(key: String, value: String) throws { _ = try read([key: value]) }

    @Test("An unknown family is refused with those that are known")
    func unknownFamily() {
        guard case .unsupportedFamily(_, "\"mamba\"", _)? = configurationError("model_type", "\"mamba\"") else {
            return fail("another error")
        }
    }

    @Test(
        "Numbers that no model has are refused by key",
        arguments: [
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "max_position_embeddings", "head_dim",
        ]
    )
    func bounds(key: String) {
        for value in ["0", "-1", "9223372036854775807", "99999999999999999999999", "1.5", "\"8\"", "true", "[8]"] {
            let found = error(key, value)
            guard found?.key == key || (found?.key == "" && value.count > 19) else { return fail("\(key) = \(value)") }
        }
    }

    @Test("Head counts that do not divide, and odd heads, are refused")
    func divisibility() {
        for (key, value) in [("num_attention_heads", "3"), ("num_key_value_heads", "3"), ("head_dim", "3")] {
            guard case .inconsistent? = configurationError(key, value) else { return fail("\(key) = \(value)") }
        }
    }

    @Test("A missing key is named")
    func missing() {
        for key in ["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"] {
            let found = error(key, nil)
            guard case .missing? = found?.problem, found?.key == key else { return fail("\(key)") }
        }
    }

    @Test("Damaged numbers of other kinds are refused")
    func otherValues() {
        for (key, value) in [
            ("rms_norm_eps", "0"), ("rms_norm_eps", "-1e-5"), ("rms_norm_eps", "\"x\""), ("rope_theta", "1e-60"),
            ("eos_token_id", "[1.5]"), ("bos_token_id", "true"), ("tie_word_embeddings", "1"),
        ] {
            let found = error(key, value)
            guard case .mismatch? = found?.problem, found?.key.hasPrefix(key) == true else {
                return fail("\(key) = \(value)")
            }
        }
    }

    @Test(
        "A text that is no JSON object is refused",
        arguments: ["", "[]", "{"]
    )
    func malformed(text: String) throws {
        let url = try directory.write(text, as: "config.json")
        let found = #expect(throws: JSONNodeError.self) { try ModelConfiguration(contentsOf: url) }
        #expect(found?.file == url.path)
    }

    @Test("Of two equal keys the later one counts, as in transformers")
    func duplicateKey() throws {
        let text = TinyModel.configuration().dropLast() + ", \"rms_norm_eps\": 0.25}"
        let url = try directory.write(String(text), as: "config.json")
        #expect(try ModelConfiguration(contentsOf: url).normEpsilon == 0.25)
    }

    @Test("A Git LFS pointer in place of the file is called one")
    func gitLFSPointer() throws {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
        let url = try directory.write(pointer, as: "config.json")
        #expect(throws: FileError.gitLFSPointer(file: url.path)) { try ModelConfiguration(contentsOf: url) }
        try directory.write(TinyModel.configuration(), as: "config.json")
        for name in ["pytorch_model.bin", "model.safetensors"] {
            let weights = try directory.write(pointer, as: name)
            #expect(throws: FileError.gitLFSPointer(file: weights.path)) { try Checkpoint(directory: directory.url) }
        }
    }

    @Test("Another quantization method is refused, and so is an unknown checkpoint format")
    func foreignQuantization() {
        for text in [
            "{\"quant_method\": \"gptq\", \"bits\": 4}",
            "{\"quant_method\": \"onebit\", \"bits\": 2, \"checkpoint_format\": \"onebit-lsb-v1\"}",
            "{\"quant_method\": \"onebit\", \"bits\": 1, \"checkpoint_format\": \"onebit-v9\"}",
        ] {
            guard case .unsupported? = error("quantization_config", text)?.problem else { return fail("\(text)") }
        }
    }

    @Test("What is written is read back the same, unknown keys and all")
    func roundTrip() throws {
        let text = TinyModel.configuration(["future_key": "{\"a\": [1, null, \"é\\n\"]}"])
        let original = try ModelConfiguration(
            contentsOf: directory.write(text, as: "config.json"), unknownKeys: .allowed)
        let quantization = QuantizationConfiguration(
            checkpointFormat: .packed,
            postLayerNorm: false,
            layerNormEpsilon: 1e-5,
            valueType: .float16
        )
        let data = try original.jsonData(quantization: quantization)
        let again = try ModelConfiguration(
            contentsOf: directory.write(data, as: "config.json"), unknownKeys: .allowed)
        #expect(again.quantization == quantization)
        #expect(again.kind == .packed)
        #expect(again.linears == original.linears)
        #expect(try again.jsonData(quantization: nil) == original.jsonData(quantization: nil))
        #expect(String(decoding: data, as: UTF8.self).contains("future_key"))
    }

    @Test("8-bit embeddings are written, read back, and bring a scale per row; in a float student they are refused")
    func embeddingBits() throws {
        let original = try read()
        let quantization = QuantizationConfiguration(
            checkpointFormat: .packed, postLayerNorm: false, valueType: .float16, embeddingFormat: .int8)
        let data = try original.jsonData(quantization: quantization)
        let again = try ModelConfiguration(contentsOf: directory.write(data, as: "config.json"))
        #expect(again.quantization == quantization)
        let plan = original.tensorPlan(
            kind: .packed, weightType: .int8, valueType: .float16, embeddingFormat: .int8
        ) { _ in .float16 }
        for name in ["model.embed_tokens", "lm_head"] {
            #expect(plan.first { $0.name == "\(name).weight" }?.elementType == .int8)
            let scale = try #require(plan.first { $0.name == "\(name).weight_scale" })
            #expect(scale.shape == [12] && scale.elementType == .float32)
        }
        for (bits, format) in [("4", "onebit-lsb-v1"), ("8", "onebit-float-v1")] {
            let text = """
                {"quant_method": "onebit", "checkpoint_format": "\(format)", "post_layernorm": false, \
                "embedding_bits": \(bits)}
                """
            guard case .unsupported? = error("quantization_config", text)?.problem else { return fail("\(text)") }
        }
    }

    @Test("The tensors of a block come in forward order with the family's names")
    func tensorNames() throws {
        let read = try read()
        #expect(read.linears.count == 14)
        #expect(read.linears[6].name == "model.layers.0.mlp.down_proj")
        #expect(read.linears[6].inputs == 10)
        #expect(read.floatTensors.map(\.name).first == "model.embed_tokens.weight")
        #expect(read.floatTensors.map(\.name).last == "lm_head.weight")
        let packed = read.tensorPlan(kind: .packed, weightType: .float32, valueType: .float16) { _ in .float16 }
        let down = try #require(packed.first { $0.name == "model.layers.0.mlp.down_proj.weight" })
        #expect(down.shape == [8, 2])
        #expect(down.elementType == .int8)
    }
}
