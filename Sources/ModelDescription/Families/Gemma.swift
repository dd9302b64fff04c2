import JSON

extension ModelFamily {
    /// Gemma 2 (Gemma team 2024): norms before and behind the sublayers, which count from 1; GELU; windows in every other
    /// layer; scores and logits capped by tanh.
    static let gemma2 = ModelFamily(
        modelType: "gemma2",
        architecture: "Gemma2ForCausalLM",
        names: .gemma,
        defaults: Defaults(
            maximumPositions: 8192, tiesEmbeddings: true, keyValueHeadCount: 4, headSize: 256, beginOfSequence: 2,
            endOfSequence: 1),
        // `sliding_window_size` of the first release's files is not read by transformers.
        keys: keys(read: ["attn_logit_softcapping", "final_logit_softcapping", "sliding_window_size"])
    ) { config, sizes in
        let rotation = try RotaryPositions(config, maximumPositions: sizes.maximumPositions)
        var structure = try gemma(config, sizes, rotation: rotation, fullLayerEvery: 2)
        structure.attentionSoftCap = try softCap(config["attn_logit_softcapping"], missing: 50)
        structure.logitSoftCap = try softCap(config["final_logit_softcapping"], missing: 30)
        return structure
    }

    /// The text models of Gemma 3 (Gemma team 2025): norms before and behind the sublayers, which count from 1, and of each
    /// head's queries and keys; GELU; windows in five of six layers, which rotate with a base of their own.
    static let gemma3 = ModelFamily(
        modelType: "gemma3_text",
        architecture: "Gemma3ForCausalLM",
        names: .gemma,
        defaults: Defaults(
            maximumPositions: 131_072, tiesEmbeddings: true, keyValueHeadCount: 4, headSize: 256, beginOfSequence: 2,
            endOfSequence: 1),
        // transformers keeps `attn_logit_softcapping` of these models and computes nothing with it.
        keys: keys(
            read: [
                "rope_local_base_freq", "sliding_window_pattern", "attn_logit_softcapping", "final_logit_softcapping",
            ], neutral: ["use_qk_norm": [.boolean(true)]])
    ) { config, sizes in
        let (global, windowed) = try rotations(config, sizes)
        let pattern = try config["sliding_window_pattern"].nonNull?.integer(in: 1...Int(Int32.max)) ?? 6
        var structure = try gemma(config, sizes, rotation: global, fullLayerEvery: pattern)
        structure.queryKeyNorm = .heads
        structure.logitSoftCap = try softCap(config["final_logit_softcapping"], missing: nil)
        if !structure.windowedLayers.isEmpty { structure.windowedRotation = windowed }
        return structure
    }

    private static func keys(read: Set<String>, neutral: [String: [JSONValue]] = [:]) -> ConfigurationKeys {
        let common: [String: [JSONValue]] = [
            "hidden_activation": [.string("gelu_pytorch_tanh")], "hidden_act": [.string("gelu_pytorch_tanh")],
            "use_bidirectional_attention": [.boolean(false)],
        ]
        return ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(["attention_bias", "query_pre_attn_scalar", "sliding_window"])
                .union(read),
            neutral: ConfigurationKeys.neutralOfRotary.merging(common) { _, own in own }
                .merging(neutral) { _, own in own })
    }

    /// What both have.
    ///
    /// - Parameter period: every so many layers one sees everything, where `layer_types` does not say which do.
    private static func gemma(
        _ config: JSONNode, _ sizes: Sizes, rotation: RotaryPositions, fullLayerEvery period: Int
    ) throws -> DecoderStructure {
        var structure = DecoderStructure(positions: .rotary(rotation))
        structure.normalization = .rootMeanSquareFromOne
        structure.normPlacement = .aroundSublayers
        structure.mlp = .gatedGELU
        structure.embeddingMultiplier = Float(Double(sizes.hiddenSize).squareRoot())
        let scalar = try config["query_pre_attn_scalar"].nonNull?.positiveNumber(atMost: 1e6) ?? 256
        structure.attentionScale = 1 / scalar.squareRoot()
        try readBiases(config, &structure)

        let types = try layerTypes(config, sizes)
        structure.windowedLayers = Set(
            (0..<sizes.layerCount).filter { layer in
                types.map { $0[layer] == "sliding_attention" } ?? ((layer + 1) % period != 0)
            })
        guard !structure.windowedLayers.isEmpty else { return structure }
        let window = config["sliding_window"]
        structure.slidingWindow = window.isMissing ? 4096 : try window.integer(in: 1...Int(Int32.max))
        return structure
    }

    /// What caps scores or logits; nil, which null says, for nothing.
    private static func softCap(_ node: JSONNode, missing: Float?) throws -> Float? {
        node.isMissing ? missing : try node.nonNull?.positiveNumber(atMost: 1e6)
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
    static let gemma = {
        var names = llama
        names.attentionOutputNorm = "post_attention_layernorm"
        names.mlpNorm = "pre_feedforward_layernorm"
        names.mlpOutputNorm = "post_feedforward_layernorm"
        return names
    }()
}
