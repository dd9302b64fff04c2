import JSON

extension ModelFamily {
    /// OPT (Zhang et al. 2022): LayerNorm, learned positions, ReLU, biases everywhere. The 350m is the odd one: its norms
    /// follow the sublayers, none follows the last block, and its embedding is narrower than the residual stream.
    static let opt = ModelFamily(
        modelType: "opt",
        architecture: "OPTForCausalLM",
        names: .opt,
        defaults: Defaults(normEpsilon: 1e-5, tiesEmbeddings: true, beginOfSequence: 2, endOfSequence: 2),
        keys: ConfigurationKeys(
            read: [
                "ffn_dim", "do_layer_norm_before", "_remove_final_layer_norm", "enable_bias", "word_embed_proj_dim",
            ],
            neutral: [
                "activation_function": [.string("relu")], "layer_norm_elementwise_affine": [.boolean(true)],
                "output_projection": [.boolean(true)], "learned_embeddings": [.boolean(true)],
                "scale_embeddings": [.boolean(false)],
            ]),
        intermediateSizeKey: "ffn_dim",
        normEpsilonKey: nil
    ) { config, sizes in
        var structure = DecoderStructure(positions: .learned(offset: 2))
        structure.normalization = .layer
        structure.mlp = .rectified
        let isBefore = try config["do_layer_norm_before"].nonNull?.boolean() ?? true
        structure.normPlacement = isBefore ? .beforeSublayers : .afterSublayers
        structure.hasFinalNorm = try isBefore && !(config["_remove_final_layer_norm"].nonNull?.boolean() ?? false)
        if try config["enable_bias"].nonNull?.boolean() ?? true {
            structure.biases = [.query, .key, .value, .output, .up, .down]
        }
        let embeddingSize = try config["word_embed_proj_dim"].nonNull?.integer(in: 1...1 << 18) ?? sizes.hiddenSize
        if embeddingSize != sizes.hiddenSize { structure.projectedEmbeddingSize = embeddingSize }
        return structure
    }
}

extension TensorNames {
    static let opt = TensorNames(
        blockPrefix: "model.decoder.layers.",
        query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj", output: "self_attn.out_proj",
        gate: nil, up: "fc1", down: "fc2",
        attentionNorm: "self_attn_layer_norm", mlpNorm: "final_layer_norm",
        queryNorm: "self_attn.q_norm", keyNorm: "self_attn.k_norm",
        embedding: "model.decoder.embed_tokens", positions: "model.decoder.embed_positions",
        inputProjection: "model.decoder.project_in", outputProjection: "model.decoder.project_out",
        finalNorm: "model.decoder.final_layer_norm", head: "lm_head", basePrefix: "model.",
        ignoredSuffixes: ["decoder.version"]
    )
}
