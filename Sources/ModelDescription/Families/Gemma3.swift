import JSON

extension ModelFamily {
    /// The text models of Gemma 3 (Gemma team 2025): norms before and behind the sublayers, which count from 1, and of each
    /// head's queries and keys; GELU; windows in five of six layers, which rotate with a base of their own.
    static let gemma3 = ModelFamily(
        modelType: "gemma3_text",
        architecture: "Gemma3ForCausalLM",
        names: .gemma3,
        defaults: Defaults(
            maximumPositions: 131_072, tiesEmbeddings: true, keyValueHeadCount: 4, headSize: 256, beginOfSequence: 2,
            endOfSequence: 1),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union([
                "attention_bias", "rope_local_base_freq", "query_pre_attn_scalar", "sliding_window",
                "sliding_window_pattern",
            ]),
            neutral: ConfigurationKeys.neutralOfRotary.merging([
                "hidden_activation": [.string("gelu_pytorch_tanh")], "hidden_act": [.string("gelu_pytorch_tanh")],
                "use_qk_norm": [.boolean(true)], "use_bidirectional_attention": [.boolean(false)],
            ]) { _, own in own })
    ) { config, sizes in
        let (global, windowed) = try rotations(config, sizes)
        var structure = DecoderStructure(positions: .rotary(global))
        structure.normalization = .rootMeanSquareFromOne
        structure.normPlacement = .aroundSublayers
        structure.mlp = .gatedGELU
        structure.queryKeyNorm = .heads
        structure.embeddingMultiplier = Float(Double(sizes.hiddenSize).squareRoot())
        let scalar = try config["query_pre_attn_scalar"].nonNull?.positiveNumber(atMost: 1e6) ?? 256
        structure.attentionScale = 1 / scalar.squareRoot()
        try readBiases(config, &structure)

        let pattern = try config["sliding_window_pattern"].nonNull?.integer(in: 1...Int(Int32.max)) ?? 6
        let types = try layerTypes(config, sizes)
        structure.windowedLayers = Set(
            (0..<sizes.layerCount).filter { layer in
                types.map { $0[layer] == "sliding_attention" } ?? ((layer + 1) % pattern != 0)
            })
        guard !structure.windowedLayers.isEmpty else { return structure }
        let window = config["sliding_window"]
        structure.slidingWindow = window.isMissing ? 4096 : try window.integer(in: 1...Int(Int32.max))
        structure.windowedRotation = windowed
        return structure
    }

    /// `rope_parameters` has one object for each kind of layer; older files have `rope_theta` and `rope_scaling` for the layers
    /// that see everything, and `rope_local_base_freq` for the others.
    private static func rotations(
        _ config: JSONNode, _ sizes: Sizes
    ) throws -> (global: RotaryPositions, windowed: RotaryPositions) {
        let parameters = config["rope_parameters"]
        let (full, sliding) = (parameters["full_attention"].nonNull, parameters["sliding_attention"].nonNull)
        if let parameters = parameters.nonNull, full == nil, sliding == nil {
            throw parameters.unsupported(supported: "parameters of \"full_attention\" and \"sliding_attention\"")
        }
        let global = try RotaryPositions(
            config["rope_scaling"].nonNull ?? full, outside: config, maximumPositions: sizes.maximumPositions,
            defaultBase: 1_000_000)
        let windowed = try RotaryPositions(
            sliding, outside: config, baseKey: "rope_local_base_freq", maximumPositions: sizes.maximumPositions,
            defaultBase: 10_000)
        if windowed.dependsOnLength, let sliding {
            throw sliding.unsupported(supported: "rotations that do not depend on the length of a sequence")
        }
        return (global, windowed)
    }
}

extension TensorNames {
    static let gemma3 = {
        var names = llama
        names.attentionOutputNorm = "post_attention_layernorm"
        names.mlpNorm = "pre_feedforward_layernorm"
        names.mlpOutputNorm = "post_feedforward_layernorm"
        return names
    }()
}
