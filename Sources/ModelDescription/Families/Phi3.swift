import JSON

extension ModelFamily {
    /// Phi-3 and Phi-4 (Abdin et al. 2024): LLaMA whose checkpoints hold q, k and v as one matrix, and gate and up; LongRoPE,
    /// of a part of each head in Phi-4-mini; a sliding window in the first release.
    static let phi3 = ModelFamily(
        modelType: "phi3",
        architecture: "Phi3ForCausalLM",
        names: .phi3,
        defaults: Defaults(
            maximumPositions: 4096, normEpsilon: 1e-5, beginOfSequence: 1, endOfSequence: 32_000),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(["partial_rotary_factor", "sliding_window"]),
            neutral: ConfigurationKeys.neutralOfRotary.merging(
                ["full_attn_mod": [.integer(1)], "interpolate_factor": [.integer(1)]]) { _, own in own })
    ) { config, sizes in
        // "su" is what the first files call it; transformers takes "yarn" for the same here.
        var structure = DecoderStructure(
            positions: .rotary(
                try RotaryPositions(
                    config, maximumPositions: sizes.maximumPositions, defaultFraction: 1,
                    kinds: ["su": "longrope", "yarn": "longrope"])))
        structure.slidingWindow = try config["sliding_window"].nonNull?.integer(in: 1...Int(Int32.max))
        if structure.slidingWindow != nil { structure.windowedLayers = Set(0..<sizes.layerCount) }
        try requireLayerTypes(
            config, sizes, structure.slidingWindow == nil ? "full_attention" : "sliding_attention")
        return structure
    }
}

extension TensorNames {
    static let phi3 = {
        var names = llama
        names.fused = [
            ("self_attn.qkv_proj", [.query, .key, .value]), ("mlp.gate_up_proj", [.gate, .up]),
        ]
        return names
    }()
}
