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
    let attentionNorm: String
    let mlpNorm: String
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
    /// What stands before every name but the head's, and is missing in checkpoints of the bare decoder.
    let basePrefix: String
    /// Endings of names that old checkpoints store and nobody needs.
    let ignoredSuffixes: [String]

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

    /// LLaMA's names, which Mistral and Qwen took over.
    static let llama = TensorNames(
        blockPrefix: "model.layers.",
        query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", output: "self_attn.o_proj",
        gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
        attentionNorm: "input_layernorm", mlpNorm: "post_attention_layernorm",
        queryNorm: "self_attn.q_norm", keyNorm: "self_attn.k_norm",
        embedding: "model.embed_tokens", positions: "model.embed_positions",
        inputProjection: "model.project_in", outputProjection: "model.project_out",
        finalNorm: "model.norm", head: "lm_head", basePrefix: "model.",
        ignoredSuffixes: [".rotary_emb.inv_freq"]
    )
}
