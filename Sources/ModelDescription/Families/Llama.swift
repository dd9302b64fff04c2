import JSON

extension ModelFamily {
    /// LLaMA 1, 2 and 3 (Touvron et al. 2023; Grattafiori et al. 2024): RMSNorm, rotary positions, SwiGLU.
    static let llama = ModelFamily(
        modelType: "llama",
        architecture: "LlamaForCausalLM",
        names: .llama,
        defaults: Defaults(beginOfSequence: 1, endOfSequence: 2),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(["attention_bias", "mlp_bias"]),
            neutral: ConfigurationKeys.neutralOfRotary)
    ) { config, sizes in
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(config, maximumPositions: sizes.maximumPositions)))
        try requireLayerTypes(config, sizes, "full_attention")
        try readBiases(config, &structure)
        return structure
    }

    /// Reads `attention_bias` and `mlp_bias`.
    static func readBiases(_ config: JSONNode, _ structure: inout DecoderStructure) throws {
        if try config["attention_bias"].nonNull?.boolean() ?? false {
            structure.biases.formUnion([.query, .key, .value, .output])
        }
        if try config["mlp_bias"].nonNull?.boolean() ?? false { structure.biases.formUnion([.gate, .up, .down]) }
    }

    /// Mistral (Jiang et al. 2023): LLaMA with a sliding attention window.
    static let mistral = ModelFamily(
        modelType: "mistral",
        architecture: "MistralForCausalLM",
        names: .llama,
        defaults: Defaults(
            maximumPositions: 131_072, keyValueHeadCount: 8, beginOfSequence: 1, endOfSequence: 2),
        keys: ConfigurationKeys(
            read: ConfigurationKeys.rotary.union(["sliding_window", "use_sliding_window"]),
            neutral: ConfigurationKeys.neutralOfRotary)
    ) { config, sizes in
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(config, maximumPositions: sizes.maximumPositions)))
        // A missing key means the 4096 of the first release, null for no window.
        let window = config["sliding_window"]
        structure.slidingWindow = window.isMissing ? 4096 : try window.nonNull?.integer(in: 1...Int(Int32.max))
        if structure.slidingWindow != nil { structure.windowedLayers = Set(0..<sizes.layerCount) }
        if try config["use_sliding_window"].nonNull?.boolean() == false, structure.slidingWindow != nil {
            throw window.malformed(
                "a window while \"use_sliding_window\" is false; the model was trained with one of them")
        }
        try requireLayerTypes(
            config, sizes, structure.slidingWindow == nil ? "full_attention" : "sliding_attention")
        return structure
    }

    /// `layer_types`, checked to be as many as there are layers and of kinds that are computed; nil where it is missing.
    static func layerTypes(_ config: JSONNode, _ sizes: Sizes) throws -> [String]? {
        let node = config["layer_types"]
        guard let types = try node.nonNull?.strings(), !types.isEmpty else { return nil }
        guard types.count == sizes.layerCount else {
            throw node.malformed(
                "names \(types.count) layers, but \"num_hidden_layers\" is \(sizes.layerCount)")
        }
        let known = ["full_attention", "sliding_attention"]
        if let index = types.firstIndex(where: { !known.contains($0) }) {
            throw try node.elements()[index].unsupported(supported: "\"full_attention\" and \"sliding_attention\"")
        }
        return types
    }

    /// Refuses `layer_types` that say something else than the family's one kind of layer.
    static func requireLayerTypes(_ config: JSONNode, _ sizes: Sizes, _ type: String) throws {
        guard let types = try layerTypes(config, sizes), let index = types.firstIndex(where: { $0 != type }) else {
            return
        }
        throw try config["layer_types"].elements()[index].unsupported(supported: "\"\(type)\" in every layer")
    }
}

extension TensorNames {
    /// LLaMA's names, which the other families of this form took over.
    static let llama = TensorNames(
        blockPrefix: "model.layers.",
        query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", output: "self_attn.o_proj",
        gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
        attentionNorm: "input_layernorm", mlpNorm: "post_attention_layernorm",
        queryNorm: "self_attn.q_norm", keyNorm: "self_attn.k_norm",
        embedding: "model.embed_tokens", positions: "model.embed_positions",
        inputProjection: "model.project_in", outputProjection: "model.project_out",
        finalNorm: "model.norm", head: "lm_head", basePrefix: "model.",
        ignoredSuffixes: [".rotary_emb.inv_freq"]
    )
}
