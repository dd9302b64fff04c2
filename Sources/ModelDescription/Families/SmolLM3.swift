import JSON

extension ModelFamily {
    /// SmolLM3 (Bakouch et al. 2025): LLaMA, of whose layers some do not rotate queries and keys (Yang et al. 2025, "RoPE to
    /// NoPE and back again").
    static let smolLM3 = ModelFamily(
        modelType: "smollm3",
        architecture: "SmolLM3ForCausalLM",
        names: .llama,
        defaults: Defaults(
            maximumPositions: 32_768, tiesEmbeddings: true, keyValueHeadCount: 4, beginOfSequence: 128_000,
            endOfSequence: 128_001),
        keys: ConfigurationKeys(
            // transformers does not read `max_window_layers`, which the released files have.
            read: ConfigurationKeys.rotary.union([
                "attention_bias", "mlp_bias", "no_rope_layers", "no_rope_layer_interval", "use_sliding_window",
                "sliding_window", "max_window_layers",
            ]),
            neutral: ConfigurationKeys.neutralOfRotary)
    ) { config, sizes in
        var structure = DecoderStructure(
            positions: .rotary(
                try RotaryPositions(config, maximumPositions: sizes.maximumPositions, defaultBase: 2_000_000)))
        try readBiases(config, &structure)
        structure.unrotatedLayers = try unrotatedLayers(config, sizes)

        let types = try layerTypes(config, sizes)
        if try config["use_sliding_window"].nonNull?.boolean() ?? false {
            structure.slidingWindow = try config["sliding_window"].nonNull?.integer(in: 1...Int(Int32.max))
        }
        guard structure.slidingWindow != nil else {
            guard types?.contains("sliding_attention") != true else {
                throw config["layer_types"].malformed(
                    "has \"sliding_attention\" without \"use_sliding_window\" and a \"sliding_window\"")
            }
            return structure
        }
        structure.windowedLayers =
            types.map { types in Set(types.indices.filter { types[$0] == "sliding_attention" }) }
            ?? structure.unrotatedLayers
        return structure
    }

    /// `no_rope_layers` has a 1 for each layer that does rotate and a 0 for each that does not; where it is missing, every
    /// `no_rope_layer_interval`-th does not.
    private static func unrotatedLayers(_ config: JSONNode, _ sizes: Sizes) throws -> Set<Int> {
        let node = config["no_rope_layers"]
        guard let rotates = try node.nonNull?.integers() else {
            let interval = try config["no_rope_layer_interval"].nonNull?.integer(in: 1...Int(Int32.max)) ?? 4
            return Set((0..<sizes.layerCount).filter { ($0 + 1) % interval == 0 })
        }
        guard rotates.count >= sizes.layerCount else {
            throw node.malformed("names \(rotates.count) layers, but \"num_hidden_layers\" is \(sizes.layerCount)")
        }
        return Set((0..<sizes.layerCount).filter { rotates[$0] == 0 })
    }
}
