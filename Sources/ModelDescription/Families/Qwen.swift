extension ModelFamily {
    /// Qwen2 and Qwen2.5 (Yang et al. 2024): LLaMA with biases on queries, keys and values.
    static let qwen2 = ModelFamily(
        modelType: "qwen2",
        architecture: "Qwen2ForCausalLM",
        names: .llama,
        defaultKeyValueHeadCount: 32,
        knownKeys: rotaryKeys.union(windowKeys),
        requirements: [silu, wholeRotary, Requirement(key: "use_mrope", supported: [.boolean(false)])]
    ) { reader, sizes in
        var structure = try rotaryWithWindow(reader, sizes)
        structure.biases = [.query, .key, .value]
        return structure
    }

    /// Qwen3 (Yang et al. 2025): the queries and keys of each head are normalised, and the biases gone.
    static let qwen3 = ModelFamily(
        modelType: "qwen3",
        architecture: "Qwen3ForCausalLM",
        names: .llama,
        defaultKeyValueHeadCount: 32,
        defaultHeadSize: 128,
        knownKeys: rotaryKeys.union(windowKeys).union(["attention_bias"]),
        requirements: [silu, wholeRotary]
    ) { reader, sizes in
        var structure = try rotaryWithWindow(reader, sizes)
        structure.normalizesQueriesAndKeys = true
        if try reader.boolean("attention_bias", default: false) {
            structure.biases = [.query, .key, .value, .output]
        }
        return structure
    }

    private static let windowKeys: Set = ["use_sliding_window", "sliding_window", "max_window_layers", "layer_types"]

    /// With `use_sliding_window`, the layers from `max_window_layers` on see a window; `layer_types` says the same layer
    /// by layer, and counts where it stands.
    private static func rotaryWithWindow(_ reader: ConfigurationReader, _ sizes: Sizes) throws -> DecoderStructure {
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(reader, maximumPositions: sizes.maximumPositions)))
        let layerTypes = try reader.strings("layer_types", default: [])
        guard layerTypes.isEmpty || layerTypes.count == sizes.layerCount else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "\"layer_types\" names \(layerTypes.count) layers, \"num_hidden_layers\" is \(sizes.layerCount)"
            )
        }
        let known = ["full_attention", "sliding_attention"]
        if let other = layerTypes.first(where: { !known.contains($0) }) {
            throw reader.unsupported("layer_types", "\"full_attention\" and \"sliding_attention\"", .string(other))
        }
        guard try reader.boolean("use_sliding_window", default: false) else {
            guard !layerTypes.contains("sliding_attention") else {
                throw ConfigurationError.inconsistent(
                    file: reader.file,
                    reason: "\"layer_types\" has \"sliding_attention\" without \"use_sliding_window\"")
            }
            return structure
        }
        structure.slidingWindow = try reader.integer("sliding_window", in: 1...Int(Int32.max), default: 4096)
        let fullLayers = try reader.integer("max_window_layers", in: 0...Int(Int32.max), default: 28) ?? 28
        structure.windowedLayers = Set(
            (0..<sizes.layerCount).filter {
                layerTypes.isEmpty ? $0 >= fullLayers : layerTypes[$0] == "sliding_attention"
            })
        return structure
    }
}
