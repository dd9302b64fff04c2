import JSON

extension ModelFamily {
    /// StableLM 2 and StableLM 3B (Bellagente et al. 2024): LLaMA with LayerNorm, and a part of each head rotated. The 12B,
    /// whose attention and MLP read the same norm side by side, is refused.
    static let stableLM = ModelFamily(
        modelType: "stablelm",
        architecture: "StableLmForCausalLM",
        names: .llama,
        defaults: Defaults(
            maximumPositions: 4096, normEpsilon: 1e-5, keyValueHeadCount: 32, beginOfSequence: 0, endOfSequence: 0),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.subtracting(["rms_norm_eps", "head_dim"])
                .union(["layer_norm_eps", "partial_rotary_factor", "use_qkv_bias"]),
            neutral: ConfigurationKeys.neutralOfRotary),
        normEpsilonKey: "layer_norm_eps"
    ) { config, sizes in
        var structure = DecoderStructure(
            positions: .rotary(
                try RotaryPositions(config, maximumPositions: sizes.maximumPositions, defaultFraction: 0.25)))
        structure.normalization = .layer
        try requireLayerTypes(config, sizes, "full_attention")
        if try config["use_qkv_bias"].nonNull?.boolean() ?? false { structure.biases = [.query, .key, .value] }
        return structure
    }
}
