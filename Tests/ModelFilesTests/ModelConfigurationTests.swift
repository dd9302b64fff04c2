import Foundation
import ModelDescription
import TensorFiles
import Testing

struct ModelConfigurationTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func read(_ changes: [String: String?] = [:]) throws -> ModelConfiguration {
        try ModelConfiguration(contentsOf: directory.write(TinyModel.configuration(changes), as: "config.json"))
    }

    private func error(_ key: String, _ value: String?) -> ConfigurationError? {
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
        #expect(sparse.endOfSequence.isEmpty)
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
            ("rope_scaling.rope_type", "{\"rope_type\": \"yarn\", \"factor\": 2.0}"),
            ("rope_scaling.type", "{\"type\": \"su\"}"),
            ("rope_scaling.attention_factor", "{\"type\": \"linear\", \"factor\": 2.0, \"attention_factor\": 0.5}"),
            ("attention_multiplier", "0.0078125"), ("final_logit_softcapping", "30.0"), ("num_local_experts", "8"),
        ]
    )
    func unsupportedSettings(key: String, value: String) {
        let outer = key.split(separator: ".").first.map(String.init) ?? key
        guard case .unsupportedSetting(_, key, _, _)? = error(outer, value) else { return fail("another error") }
    }

    @Test(
        "Keys that say nothing of the computation pass, known or not",
        arguments: [
            ("attention_dropout", "0.1"), ("initializer_range", "0.02"), ("pretraining_tp", "1"), ("_name", "\"x\""),
            ("sliding_window", "null"), ("use_experts", "false"), ("unsloth_version", "\"2024.9\""),
        ]
    )
    func harmlessKeys(key: String, value: String) throws { _ = try read([key: value]) }

    @Test("An unknown family is refused with those that are known")
    func unknownFamily() {
        guard case .unsupportedFamily(_, "\"mamba\"", _)? = error("model_type", "\"mamba\"") else {
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
            guard case .invalidValue(_, key, _, _)? = error(key, value) else {
                return fail("\(key) = \(value)")
            }
        }
    }

    @Test("Head counts that do not divide, and odd heads, are refused")
    func divisibility() {
        for (key, value) in [("num_attention_heads", "3"), ("num_key_value_heads", "3"), ("head_dim", "3")] {
            guard case .inconsistent? = error(key, value) else { return fail("\(key) = \(value)") }
        }
    }

    @Test("A missing key is named")
    func missing() {
        for key in ["model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"] {
            guard case .missingKey(_, key)? = error(key, nil) else { return fail("\(key)") }
        }
    }

    @Test("Damaged numbers of other kinds are refused")
    func otherValues() {
        for (key, value) in [
            ("rms_norm_eps", "0"), ("rms_norm_eps", "-1e-5"), ("rms_norm_eps", "\"x\""), ("rope_theta", "1e-60"),
            ("eos_token_id", "12"), ("eos_token_id", "[-1]"), ("bos_token_id", "12"), ("tie_word_embeddings", "1"),
        ] {
            guard case .invalidValue(_, key, _, _)? = error(key, value) else {
                return fail("\(key) = \(value)")
            }
        }
    }

    @Test(
        "A text that is no JSON object, or has a key twice, is refused",
        arguments: ["", "[]", "{\"a\":1,\"a\":2}", "{"]
    )
    func malformed(text: String) throws {
        let url = try directory.write(text, as: "config.json")
        let found = #expect(throws: ConfigurationError.self) { try ModelConfiguration(contentsOf: url) }
        guard case .malformed? = found else { return fail("another error") }
    }

    @Test("Another quantisation method is refused, and so is an unknown checkpoint format")
    func foreignQuantization() {
        for text in [
            "{\"quant_method\": \"gptq\", \"bits\": 4}",
            "{\"quant_method\": \"onebit\", \"bits\": 2, \"checkpoint_format\": \"onebit-lsb-v1\"}",
            "{\"quant_method\": \"onebit\", \"bits\": 1, \"checkpoint_format\": \"onebit-v9\"}",
        ] {
            guard case .unsupportedSetting? = error("quantization_config", text) else { return fail("\(text)") }
        }
    }

    @Test("What is written is read back the same, unknown keys and all")
    func roundTrip() throws {
        let original = try read(["future_key": "{\"a\": [1, null, \"é\\n\"]}"])
        let quantization = QuantizationConfiguration(
            checkpointFormat: .packed,
            postLayerNorm: false,
            layerNormEpsilon: 1e-5,
            valueType: .float16
        )
        let data = try original.jsonData(quantization: quantization)
        let again = try ModelConfiguration(contentsOf: directory.write(data, as: "config.json"))
        #expect(again.quantization == quantization)
        #expect(again.kind == .packed)
        #expect(again.linears == original.linears)
        #expect(try again.jsonData(quantization: nil) == original.jsonData(quantization: nil))
        #expect(String(decoding: data, as: UTF8.self).contains("future_key"))
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
