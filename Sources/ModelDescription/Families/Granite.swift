import JSON

extension ModelFamily {
    /// Granite 3 (Granite team 2024): LLaMA with factors of the embedding, the scores, what sublayers add, and the logits, as
    /// in maximal update parametrization (Yang et al. 2022).
    static let granite = ModelFamily(
        modelType: "granite",
        architecture: "GraniteForCausalLM",
        names: .llama,
        defaults: Defaults(beginOfSequence: 1, endOfSequence: 2),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union([
                "attention_bias", "mlp_bias", "embedding_multiplier", "attention_multiplier", "residual_multiplier",
                "logits_scaling",
            ]),
            neutral: ConfigurationKeys.neutralOfRotary)
    ) { config, sizes in
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(config, maximumPositions: sizes.maximumPositions)))
        try requireLayerTypes(config, sizes, "full_attention")
        try readBiases(config, &structure)
        func factor(_ key: String) throws -> Float { try config[key].nonNull?.positiveNumber(atMost: 1e6) ?? 1 }
        structure.embeddingMultiplier = try factor("embedding_multiplier")
        structure.attentionScale = try factor("attention_multiplier")
        structure.residualMultiplier = try factor("residual_multiplier")
        structure.logitMultiplier = 1 / (try factor("logits_scaling"))
        return structure
    }
}
