extension ModelFamily {
    /// LLaMA 1, 2 and 3 (Touvron et al. 2023; Grattafiori et al. 2024): RMSNorm, rotary positions, SwiGLU.
    static let llama = ModelFamily(
        modelType: "llama",
        architecture: "LlamaForCausalLM",
        names: .llama,
        knownKeys: rotaryKeys.union(["attention_bias", "mlp_bias", "pretraining_tp"]),
        requirements: [silu, wholeRotary]
    ) { reader, sizes in
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(reader, maximumPositions: sizes.maximumPositions)))
        if try reader.boolean("attention_bias", default: false) {
            structure.biases.formUnion([.query, .key, .value, .output])
        }
        if try reader.boolean("mlp_bias", default: false) { structure.biases.formUnion([.gate, .up, .down]) }
        return structure
    }
}
