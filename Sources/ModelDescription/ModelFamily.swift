import JSON

/// A model family: how its `config.json` reads, and what its tensors are called. Described in `Families/`.
///
/// To add a family is to describe it here; teacher, student, packed runtime, sizes and packing all go by the description.
struct ModelFamily: Sendable {
    /// `model_type` in `config.json`.
    let modelType: String
    /// `architectures` in `config.json`.
    let architecture: String
    let names: TensorNames
    let defaults: Defaults
    let keys: ConfigurationKeys
    /// Key of the MLP's width.
    var intermediateSizeKey = "intermediate_size"
    /// Key of the norms' ε; without a key it is a constant of the family.
    var normEpsilonKey: String? = "rms_norm_eps"
    /// What the configuration says of the structure.
    let structure: @Sendable (JSONNode, Sizes) throws -> DecoderStructure

    /// What a missing key means: the defaults of transformers' configuration class.
    struct Defaults: Sendable {
        var maximumPositions = 2048
        var normEpsilon: Float = 1e-6
        var tiesEmbeddings = false
        /// Nil for as many as query heads, which is also what null says.
        var keyValueHeadCount: Int?
        /// Nil for `hidden_size` / `num_attention_heads`, which is also what null says.
        var headSize: Int?
        var beginOfSequence: Int?
        var endOfSequence: Int?
    }

    /// Sizes that a structure is read with.
    struct Sizes: Sendable {
        let hiddenSize: Int
        let layerCount: Int
        /// As the file states them.
        let maximumPositions: Int
    }

    /// The families that this version supports.
    static let all: [ModelFamily] = [
        .llama, .mistral, .qwen2, .qwen3, .smolLM3, .olmo2, .granite, .phi3, .stableLM, .gemma2, .gemma3, .opt,
    ]

    /// - Throws: `JSONNodeError`, ``ConfigurationError/unsupportedFamily(file:found:supported:)``
    static func named(by config: JSONNode) throws -> ModelFamily {
        let name = try config["model_type"].string()
        guard let family = all.first(where: { $0.modelType == name }) else {
            throw ConfigurationError.unsupportedFamily(
                file: config.file, found: "\"\(name)\"", supported: all.map(\.modelType) + [paperModelType])
        }
        return family
    }
}

/// What to do about a key of `config.json` of which this version does not know whether it changes the computation.
public enum UnknownKeys: Sendable, Hashable {
    /// Refuse the configuration: a setting that is ignored would give wrong text, not an error.
    case refused
    /// Go on without it, with a warning.
    case allowed
}

/// What the keys of a family's `config.json` are to this version. Every key is one of three things, and what is none of
/// them is unknown:
///
/// 1. read,
/// 2. without effect on what is computed (``withoutEffect``, and every other name that begins with an underscore),
/// 3. a setting that is not computed, and must hold a neutral value.
struct ConfigurationKeys: Sendable {
    let read: Set<String>
    /// Values, by key that is not read, with which a setting changes nothing; null, and a missing key, change nothing
    /// either.
    let neutral: [String: [JSONValue]]

    init(read: Set<String>, neutral: [String: [JSONValue]]) {
        let read = read.union(Self.readOfEveryFamily)
        self.read = read
        self.neutral = neutral.merging(Self.neutralOfEveryFamily) { family, _ in family }
            .filter { !read.contains($0.key) }
    }

    /// Refuses settings that are not computed, and keys that are not known.
    ///
    /// - Returns: a warning for each unknown key that is ignored.
    /// - Throws: `JSONNodeError`, ``ConfigurationError/unknownKeys(file:keys:modelType:)``
    func check(_ config: JSONNode, modelType: String, unknownKeys: UnknownKeys) throws -> [String] {
        var unknown: [JSONNode] = []
        for (key, node) in try config.members() {
            if let values = neutral[key] {
                guard node.isNull || values.contains(where: { $0.isEqual(to: node.value) }) else {
                    throw node.unsupported(supported: values.first?.summary ?? "null")
                }
            } else if !read.contains(key), !Self.withoutEffect.contains(key), !key.hasPrefix("_"), !node.isSwitchedOff {
                unknown.append(node)
            }
        }
        if unknown.isEmpty { return [] }
        guard unknownKeys == .allowed else {
            throw ConfigurationError.unknownKeys(file: config.file, keys: unknown.map(\.path), modelType: modelType)
        }
        return unknown.map { "\($0.file): the key \"\($0.path)\" is not known and has no effect here." }
    }

    private static let readOfEveryFamily: Set<String> = [
        "model_type", "architectures", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id", "quantization_config",
    ]

    /// Settings of other architectures, some of which write them into configurations of these families.
    private static let neutralOfEveryFamily: [String: [JSONValue]] = [
        "is_encoder_decoder": [.boolean(false)], "add_cross_attention": [.boolean(false)],
        "is_causal": [.boolean(true)], "pruned_heads": [.object(JSONObject())],
        "num_local_experts": [.integer(0)], "num_experts": [.integer(0)], "n_routed_experts": [.integer(0)],
        "num_experts_per_tok": [.integer(0)], "alibi": [.boolean(false)], "clip_qkv": [],
        "attention_multiplier": [], "embedding_multiplier": [.integer(1)], "residual_multiplier": [.integer(1)],
        "logits_scaling": [.integer(1)], "logit_scale": [.integer(1)], "query_pre_attn_scalar": [],
        "final_logit_softcapping": [], "attn_logit_softcapping": [], "use_parallel_residual": [.boolean(false)],
    ]

    /// Keys of the families with rotary positions and grouped queries that are read.
    static let rotary: Set<String> = [
        "intermediate_size", "rms_norm_eps", "num_key_value_heads", "head_dim", "rope_theta", "rope_scaling",
        "rope_parameters", "original_max_position_embeddings", "layer_types",
    ]

    /// Settings of those families that are not computed.
    static let neutralOfRotary: [String: [JSONValue]] = [
        "hidden_act": [.string("silu"), .string("swish")], "partial_rotary_factor": [.integer(1)],
        "rotary_pct": [.integer(1)], "rope_interleaved": [.boolean(false)], "attention_bias": [.boolean(false)],
        "mlp_bias": [.boolean(false)], "use_qk_norm": [.boolean(false)], "qk_layernorm": [.boolean(false)],
        "use_sliding_window": [.boolean(false)], "sliding_window": [],
    ]

    /// Keys that change nothing in what a model computes.
    private static let withoutEffect: Set<String> = [
        // Bookkeeping of transformers and of the tools that write its files.
        "transformers_version", "name_or_path", "auto_map", "custom_pipelines", "tokenizer_class", "processor_class",
        "bos_token", "eos_token", "pad_token", "unk_token", "unk_token_id", "pad_token_id", "sep_token_id",
        "decoder_start_token_id", "tokenizer_model_max_length", "tokenizer_padding_side", "model_max_length",
        "max_sequence_length", "max_seq_len", "seq_length", "use_cache", "is_decoder", "tie_encoder_decoder",
        "cross_attention_hidden_size", "return_dict", "output_attentions", "output_hidden_states", "output_past",
        "torchscript", "tf_legacy_loss", "onnx", "transformers.js_config", "id2label", "label2id", "num_labels",
        "problem_type", "finetuning_task", "task_specific_params", "prefix", "keys_to_ignore_at_inference",
        "unsloth_version", "unsloth_fixed", "unsloth_training_type", "is_llama_config", "license", "language",
        // Data types, and how attention is computed and not what.
        "torch_dtype", "dtype", "use_bfloat16", "fp16", "bf16", "fp32", "attn_implementation", "attn_impl",
        "use_flash_attn", "use_flash_attention", "use_flash_attention_2", "flash_attention", "flash_attn",
        "use_memory_efficient_attention", "use_sdpa", "use_xformers", "chunk_size_feed_forward", "pretraining_tp",
        "tensor_parallel_size",
        // Training.
        "initializer_range", "init_std", "initializer_factor", "attention_dropout", "attn_dropout", "attn_pdrop",
        "dropout", "hidden_dropout", "activation_dropout", "embedding_dropout", "embd_pdrop", "resid_pdrop",
        "resid_dropout", "residual_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "layerdrop",
        "classifier_dropout", "gradient_checkpointing", "use_gradient_checkpointing", "neftune_noise_alpha",
        "router_aux_loss_coef", "output_router_logits", "z_loss_coef",
        // Generation, which transformers 4 wrote here too.
        "max_length", "max_new_tokens", "min_length", "min_new_tokens", "early_stopping", "max_time", "stop_strings",
        "do_sample", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "min_p",
        "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "encoder_repetition_penalty",
        "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "force_words_ids",
        "renormalize_logits", "constraints", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
        "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "forced_decoder_ids",
        "sequence_bias", "token_healing", "guidance_scale", "penalty_alpha", "dola_layers", "low_memory",
        "num_return_sequences", "output_scores", "output_logits", "return_dict_in_generate", "cache_implementation",
        "generation_config", "max_context_length", "user_token_id", "assistant_token_id",
    ]
}

extension JSONNode {
    /// Whether an unknown setting is off: null, false, or an empty list or object.
    fileprivate var isSwitchedOff: Bool {
        switch value {
        case nil, .null?, .boolean(false)?: true
        case .array(let elements)?: elements.isEmpty
        case .object(let object)?: object.members.isEmpty
        default: false
        }
    }
}

extension JSONValue {
    /// Whether two values say the same: 1 and 1.0 do.
    fileprivate func isEqual(to other: JSONValue?) -> Bool {
        switch (self, other) {
        case (.integer(let integer), .number(let number)?): Double(integer) == number
        default: self == other
        }
    }
}

/// What a family calls its tensors. Names of linears and norms are stems: `.weight` and `.bias` follow.
struct TensorNames: Sendable {
    /// Before a block's names: prefix, layer number, dot.
    let blockPrefix: String
    let query: String
    let key: String
    let value: String
    let output: String
    /// nil where no member of the family has a gated MLP.
    let gate: String?
    let up: String
    let down: String
    var attentionNorm: String
    var mlpNorm: String
    /// Norms on what the sublayers give, where there are norms before them too.
    var attentionOutputNorm = ""
    var mlpOutputNorm = ""
    let queryNorm: String
    let keyNorm: String

    let embedding: String
    /// Table of learned positions.
    let positions: String
    /// From the embedding's width to the hidden size, and back.
    let inputProjection: String
    let outputProjection: String
    let finalNorm: String
    /// Absent from the checkpoint when the embeddings are tied.
    let head: String
    /// What every name but the head's begins with; checkpoints of the bare decoder leave it out.
    let basePrefix: String
    /// Endings of names that old checkpoints store and nothing is computed with.
    let ignoredSuffixes: [String]
    /// Linears that checkpoints hold as one matrix, one below the other, and its name.
    var fused: [(name: String, roles: [DecoderStructure.LinearRole])] = []

    func linear(_ role: DecoderStructure.LinearRole) -> String {
        switch role {
        case .query: query
        case .key: key
        case .value: value
        case .output: output
        case .gate: gate ?? ""
        case .up: up
        case .down: down
        }
    }
}
