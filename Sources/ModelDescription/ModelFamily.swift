import JSON

/// A model family: how its `config.json` reads, and what its tensors are called. One file each in `Families/`.
///
/// To add a family is to describe it here; teacher, student, packed runtime, sizes and packing all go by the description.
struct ModelFamily: Sendable {
    /// `model_type` in `config.json`.
    let modelType: String
    /// `architectures` in `config.json`.
    let architecture: String
    let names: TensorNames
    /// Key of the MLP's width.
    var intermediateSizeKey = "intermediate_size"
    /// Key of the norms' ε, and its value where the key is missing; without a key it is a constant of the family.
    var normEpsilonKey: String? = "rms_norm_eps"
    var defaultNormEpsilon: Float = 1e-6
    /// `tie_word_embeddings` where it is missing.
    var tiesEmbeddingsByDefault = false
    /// `num_key_value_heads` where it is missing; nil for as many as query heads.
    var defaultKeyValueHeadCount: Int?
    /// `head_dim` where it is missing; nil for `hidden_size` / `num_attention_heads`.
    var defaultHeadSize: Int?
    /// Keys that the family reads or that say nothing about the computation, beside those that every family has.
    let knownKeys: Set<String>
    /// Keys whose other values would change the mathematics.
    let requirements: [Requirement]
    /// What the configuration says of the structure.
    let structure: @Sendable (ConfigurationReader, Sizes) throws -> DecoderStructure

    /// A key whose other values change the mathematics.
    struct Requirement: Sendable {
        let key: String
        /// Supported values; a missing or null key is always one of them.
        let supported: [JSONValue]
    }

    /// Sizes that a structure is read with.
    struct Sizes: Sendable {
        let hiddenSize: Int
        let layerCount: Int
        /// As the file states them.
        let maximumPositions: Int
    }

    /// The families that this version supports.
    static let all: [ModelFamily] = [.llama, .mistral, .qwen2, .qwen3, .opt]

    /// - Throws: ``ConfigurationError/missingKey(file:key:)``, ``ConfigurationError/unsupportedFamily(file:found:supported:)``
    static func named(by reader: ConfigurationReader) throws -> ModelFamily {
        guard let name = try reader.string("model_type") else { throw reader.missing("model_type") }
        guard let family = all.first(where: { $0.modelType == name }) else {
            throw ConfigurationError.unsupportedFamily(
                file: reader.file, found: "\"\(name)\"",
                supported: all.map(\.modelType) + [ReleasedConfiguration.modelType])
        }
        return family
    }
}

// MARK: Settings that are not supported

extension ModelFamily {
    /// Keys of every `config.json` that are read, or that say nothing about what is computed.
    private static let commonKeys: Set<String> = [
        "architectures", "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache",
        "torch_dtype", "dtype", "quantization_config", "transformers_version", "attn_implementation",
    ]

    /// Keys of the families with rotary positions and grouped queries.
    static let rotaryKeys: Set<String> = [
        "num_key_value_heads", "head_dim", "hidden_act", "rope_theta", "rope_scaling", "rope_parameters",
        "original_max_position_embeddings", "partial_rotary_factor",
    ]

    static let silu = Requirement(key: "hidden_act", supported: [.string("silu")])
    static let wholeRotary = Requirement(key: "partial_rotary_factor", supported: [.integer(1), .number(1)])

    /// Words of a key's name that speak of the computation: `attention_multiplier`, `final_logit_softcapping`,
    /// `num_local_experts`. A key with one of them that is not known is another model than the one computed here.
    private static let wordsOfTheComputation: Set<String> = [
        "attention", "attn", "norm", "layernorm", "bias", "rope", "rotary", "yarn", "scale", "scaling", "scalar",
        "scales",
        "multiplier", "multipliers", "softcapping", "softcap", "cap", "clip", "window", "expert", "experts", "moe",
        "act",
        "activation", "alibi", "position", "positions", "residual", "router", "mup", "qk", "qkv", "kv", "head", "heads",
        "factor", "interleaved", "temperature", "mask", "sparse", "parallel", "lora", "conv", "ssm", "mlp", "ffn",
    ]

    /// Words that take a key out of that: what matters in training alone.
    private static let wordsOfTraining: Set<String> = [
        "dropout", "drop", "pdrop", "layerdrop", "init", "initializer", "aux", "coef",
    ]

    /// Refuses, by name, settings that this version does not compute.
    ///
    /// - Throws: ``ConfigurationError/unsupportedSetting(file:key:found:supported:)``
    func checkSettings(_ reader: ConfigurationReader) throws {
        for requirement in requirements {
            guard let value = reader.value(requirement.key), !requirement.supported.contains(value) else { continue }
            throw reader.unsupported(requirement.key, requirement.supported[0].summary, value)
        }
        let known = Self.commonKeys.union(knownKeys).union(requirements.map(\.key)).union([intermediateSizeKey])
        for member in reader.object.members where !known.contains(member.key) {
            let words = Set(member.key.lowercased().split(separator: "_").map(String.init))
            let isNeutral = [.null, .boolean(false)].contains(member.value)
            guard !isNeutral, !member.key.hasPrefix("_"), member.key != normEpsilonKey,
                !words.isDisjoint(with: Self.wordsOfTheComputation), words.isDisjoint(with: Self.wordsOfTraining)
            else { continue }
            throw reader.unsupported(member.key, "null or false (it does not know the key)", member.value)
        }
    }
}
