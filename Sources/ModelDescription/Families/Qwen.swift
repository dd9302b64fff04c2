import JSON

extension ModelFamily {
    /// Qwen2 and Qwen2.5 (Yang et al. 2024): LLaMA with biases on queries, keys and values.
    static let qwen2 = ModelFamily(
        modelType: "qwen2",
        architecture: "Qwen2ForCausalLM",
        names: .llama,
        defaults: Defaults(maximumPositions: 32_768, keyValueHeadCount: 32),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(windowKeys),
            neutral: ConfigurationKeys.neutralOfRotary.merging(
                ["attention_bias": [.boolean(true)], "use_mrope": [.boolean(false)]]) { _, own in own })
    ) { config, sizes in
        var structure = try rotaryWithWindow(config, sizes)
        structure.biases = [.query, .key, .value]
        return structure
    }

    /// Qwen3 (Yang et al. 2025): the queries and keys of each head are normalized, without the biases.
    static let qwen3 = ModelFamily(
        modelType: "qwen3",
        architecture: "Qwen3ForCausalLM",
        names: .llama,
        defaults: Defaults(maximumPositions: 32_768, keyValueHeadCount: 32, headSize: 128),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(windowKeys).union(["attention_bias"]),
            neutral: ConfigurationKeys.neutralOfRotary.merging(
                ["use_qk_norm": [.boolean(true)], "qk_layernorm": [.boolean(true)]]) { _, own in own })
    ) { config, sizes in
        var structure = try rotaryWithWindow(config, sizes)
        structure.queryKeyNorm = .heads
        if try config["attention_bias"].nonNull?.boolean() ?? false {
            structure.biases = [.query, .key, .value, .output]
        }
        return structure
    }

    private static let windowKeys: Set = ["use_sliding_window", "sliding_window", "max_window_layers"]

    /// With `use_sliding_window`, the layers from `max_window_layers` on see a window; `layer_types` says the same layer
    /// by layer, and takes precedence. A window of null is none.
    private static func rotaryWithWindow(_ config: JSONNode, _ sizes: Sizes) throws -> DecoderStructure {
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(config, maximumPositions: sizes.maximumPositions)))
        let types = try layerTypes(config, sizes)
        var window: Int?
        if try config["use_sliding_window"].nonNull?.boolean() ?? false {
            let node = config["sliding_window"]
            window = node.isMissing ? 4096 : try node.nonNull?.integer(in: 1...Int(Int32.max))
        }
        guard let window else {
            guard types?.contains("sliding_attention") != true else {
                throw config["layer_types"].malformed(
                    "has \"sliding_attention\" without \"use_sliding_window\" and a \"sliding_window\"")
            }
            return structure
        }
        structure.slidingWindow = window
        let fullLayers = try config["max_window_layers"].nonNull?.integer(in: 0...Int(Int32.max)) ?? 28
        structure.windowedLayers = Set(
            (0..<sizes.layerCount).filter { layer in
                types.map { $0[layer] == "sliding_attention" } ?? (layer >= fullLayers)
            })
        return structure
    }
}
