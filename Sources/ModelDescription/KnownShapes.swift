import JSON

extension ModelConfiguration {
    /// Names of the published shapes that can be asked for without their files.
    public static var knownShapes: [String] { PublishedShape.all.map(\.name) }

    /// A published shape, for sizes and speed without weights.
    ///
    /// - Throws: `ConfigurationError.unknownShape`.
    public init(shape: String) throws {
        guard let known = PublishedShape.all.first(where: { $0.name == shape.lowercased() }) else {
            throw ConfigurationError.unknownShape(found: shape, known: Self.knownShapes)
        }
        try self.init(known.keys)
    }
}

/// The numbers of a published model, as its `config.json` has them.
private struct PublishedShape {
    let name: String
    let keys: JSONObject

    /// OPT: Zhang et al. 2022, Table 1. LLaMA: Touvron et al. 2023, Table 2. LLaMA 2: the same widths, 4096 positions. The
    /// others: their `config.json`.
    static let all = [
        opt("opt-125m", hidden: 768, layers: 12, heads: 12),
        opt("opt-1.3b", hidden: 2048, layers: 24, heads: 32),
        opt("opt-2.7b", hidden: 2560, layers: 32, heads: 32),
        opt("opt-6.7b", hidden: 4096, layers: 32, heads: 32),
        opt("opt-13b", hidden: 5120, layers: 40, heads: 40),
        rotary(
            "tinyllama-1.1b", hidden: 2048, intermediate: 5632, layers: 22, heads: 32, keyValueHeads: 4, epsilon: 1e-5),
        rotary("llama-7b", hidden: 4096, intermediate: 11008, layers: 32, heads: 32),
        rotary("llama-13b", hidden: 5120, intermediate: 13824, layers: 40, heads: 40),
        rotary("llama-30b", hidden: 6656, intermediate: 17920, layers: 60, heads: 52),
        rotary("llama-65b", hidden: 8192, intermediate: 22016, layers: 80, heads: 64),
        rotary(
            "llama2-7b", hidden: 4096, intermediate: 11008, layers: 32, heads: 32, positions: 4096, epsilon: 1e-5),
        rotary(
            "llama2-13b", hidden: 5120, intermediate: 13824, layers: 40, heads: 40, positions: 4096, epsilon: 1e-5),
        rotary(
            "llama3-8b", vocabulary: 128_256, hidden: 4096, intermediate: 14336, layers: 32, heads: 32,
            keyValueHeads: 8, positions: 8192, epsilon: 1e-5, ropeTheta: 500_000),
        rotary(
            "mistral-7b", family: "mistral", hidden: 4096, intermediate: 14336, layers: 32, heads: 32,
            keyValueHeads: 8, positions: 32768, epsilon: 1e-5, extra: [("sliding_window", .integer(4096))]),
        rotary(
            "qwen2.5-7b", family: "qwen2", vocabulary: 152_064, hidden: 3584, intermediate: 18944, layers: 28,
            heads: 28, keyValueHeads: 4, positions: 32768, ropeTheta: 1_000_000),
        rotary(
            "qwen3-8b", family: "qwen3", vocabulary: 151_936, hidden: 4096, intermediate: 12288, layers: 36,
            heads: 32, keyValueHeads: 8, positions: 40960, ropeTheta: 1_000_000,
            extra: [("head_dim", .integer(128))]),
    ]

    private static func rotary(
        _ name: String, family: String = "llama", vocabulary: Int = 32000, hidden: Int, intermediate: Int,
        layers: Int, heads: Int, keyValueHeads: Int? = nil, positions: Int = 2048, epsilon: Double = 1e-6,
        ropeTheta: Int = 10_000, extra: [(String, JSONValue)] = []
    ) -> PublishedShape {
        let keys = JSONObject(
            [
                ("model_type", .string(family)), ("vocab_size", .integer(vocabulary)),
                ("hidden_size", .integer(hidden)), ("intermediate_size", .integer(intermediate)),
                ("num_hidden_layers", .integer(layers)), ("num_attention_heads", .integer(heads)),
                ("num_key_value_heads", .integer(keyValueHeads ?? heads)),
                ("max_position_embeddings", .integer(positions)), ("rms_norm_eps", .number(epsilon)),
                ("rope_theta", .integer(ropeTheta)), ("tie_word_embeddings", .boolean(false)),
            ] + extra)
        return PublishedShape(name: name, keys: keys)
    }

    private static func opt(_ name: String, hidden: Int, layers: Int, heads: Int) -> PublishedShape {
        PublishedShape(
            name: name,
            keys: JSONObject([
                ("model_type", .string("opt")), ("vocab_size", .integer(50272)), ("hidden_size", .integer(hidden)),
                ("ffn_dim", .integer(4 * hidden)), ("num_hidden_layers", .integer(layers)),
                ("num_attention_heads", .integer(heads)), ("max_position_embeddings", .integer(2048)),
                ("word_embed_proj_dim", .integer(hidden)), ("do_layer_norm_before", .boolean(true)),
                ("activation_function", .string("relu")), ("tie_word_embeddings", .boolean(true)),
            ]))
    }
}
