import JSON

extension ModelFamily {
    /// OLMo 2 (OLMo team 2025): the norms are on what the sublayers give, and queries and keys are normalized whole.
    static let olmo2 = ModelFamily(
        modelType: "olmo2",
        architecture: "Olmo2ForCausalLM",
        names: .olmo2,
        defaults: Defaults(normEpsilon: 1e-5, endOfSequence: 50_279),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(["attention_bias"]), neutral: ConfigurationKeys.neutralOfRotary)
    ) { config, sizes in
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(config, maximumPositions: sizes.maximumPositions)))
        structure.normPlacement = .onSublayerOutputs
        structure.queryKeyNorm = .vectors
        try requireLayerTypes(config, sizes, "full_attention")
        try readBiases(config, &structure)
        return structure
    }
}

extension TensorNames {
    static let olmo2 = {
        var names = llama
        names.attentionNorm = "post_attention_layernorm"
        names.mlpNorm = "post_feedforward_layernorm"
        return names
    }()
}
