/// What a model family calls its tensors and which settings of its `config.json` are supported, as data.
///
/// Teacher, student, packed runtime and the sizes of `onebit inspect` all read this one description.
struct ModelFamily: Sendable {
    /// An extent of a tensor in terms of the configuration.
    enum Extent: Sendable {
        case vocabulary, hidden, intermediate
        /// Query heads × head size.
        case queries
        /// Key/value heads × head size.
        case keyValues
    }

    /// A linear layer of a block: weight [outputs, inputs], no bias.
    struct Linear: Sendable {
        let name: String
        let inputs: Extent
        let outputs: Extent
    }

    /// A tensor that stays in float.
    struct FloatTensor: Sendable {
        let name: String
        let shape: [Extent]
    }

    /// A key whose other values change the mathematics.
    struct Requirement: Sendable {
        let key: String
        /// Supported values; a missing or null key is always one of them.
        let supported: [JSONValue]
    }

    /// `model_type` in `config.json`.
    let modelType: String
    /// `architectures` in `config.json`.
    let architecture: String
    /// Before a block's tensor names: prefix, layer number, dot.
    let blockPrefix: String
    /// A block's linears in forward order; these become one-bit layers.
    let linears: [Linear]
    /// A block's tensors that stay in float.
    let blockFloats: [FloatTensor]
    /// Tensors before the blocks.
    let inputs: [FloatTensor]
    /// Tensors after the blocks.
    let outputs: [FloatTensor]
    /// The output projection; absent from the model when the embeddings are tied.
    let head: FloatTensor
    /// Endings of names that old checkpoints store and nobody needs.
    let ignoredSuffixes: [String]
    let requirements: [Requirement]

    /// The families that this version supports.
    static let all: [ModelFamily] = [.llama]

    /// LLaMA 1 and 2 (and 3 without rope scaling): RMSNorm, rotary positions, SwiGLU, no biases.
    static let llama = ModelFamily(
        modelType: "llama",
        architecture: "LlamaForCausalLM",
        blockPrefix: "model.layers.",
        linears: [
            Linear(name: "self_attn.q_proj", inputs: .hidden, outputs: .queries),
            Linear(name: "self_attn.k_proj", inputs: .hidden, outputs: .keyValues),
            Linear(name: "self_attn.v_proj", inputs: .hidden, outputs: .keyValues),
            Linear(name: "self_attn.o_proj", inputs: .queries, outputs: .hidden),
            Linear(name: "mlp.gate_proj", inputs: .hidden, outputs: .intermediate),
            Linear(name: "mlp.up_proj", inputs: .hidden, outputs: .intermediate),
            Linear(name: "mlp.down_proj", inputs: .intermediate, outputs: .hidden),
        ],
        blockFloats: [
            FloatTensor(name: "input_layernorm.weight", shape: [.hidden]),
            FloatTensor(name: "post_attention_layernorm.weight", shape: [.hidden]),
        ],
        inputs: [FloatTensor(name: "model.embed_tokens.weight", shape: [.vocabulary, .hidden])],
        outputs: [FloatTensor(name: "model.norm.weight", shape: [.hidden])],
        head: FloatTensor(name: "lm_head.weight", shape: [.vocabulary, .hidden]),
        ignoredSuffixes: [".rotary_emb.inv_freq"],
        requirements: [
            Requirement(key: "hidden_act", supported: [.string("silu")]),
            Requirement(key: "attention_bias", supported: [.boolean(false)]),
            Requirement(key: "mlp_bias", supported: [.boolean(false)]),
            Requirement(key: "partial_rotary_factor", supported: [.integer(1), .number(1)]),
        ]
    )
}
