import ModelFiles

extension ModelConfiguration {
    /// Names of the published shapes that can be asked for without their files.
    public static var knownShapes: [String] { PublishedShape.all.map(\.name) }

    /// A published shape, for sizes and speed without weights.
    ///
    /// - Throws: ``ConfigurationError/unknownShape(found:known:)``.
    public init(shape: String) throws {
        guard let known = PublishedShape.all.first(where: { $0.name == shape.lowercased() }) else {
            throw ConfigurationError.unknownShape(found: shape, known: Self.knownShapes)
        }
        try self.init(
            vocabularySize: known.vocabulary,
            hiddenSize: known.hidden,
            intermediateSize: known.intermediate,
            layerCount: known.layers,
            attentionHeadCount: known.heads,
            keyValueHeadCount: known.keyValueHeads,
            maximumPositions: known.positions,
            normEpsilon: known.epsilon,
            ropeTheta: known.ropeTheta,
            tiedEmbeddings: false
        )
    }
}

/// The numbers of a published model of the LLaMA family.
private struct PublishedShape {
    let name: String
    var vocabulary = 32000
    let hidden: Int
    let intermediate: Int
    let layers: Int
    let heads: Int
    var keyValueHeads: Int?
    var positions = 2048
    var epsilon: Float = 1e-6
    var ropeTheta: Float = 10_000

    /// LLaMA: Touvron et al. 2023, Table 2. LLaMA 2: the same widths, 4096 positions. TinyLlama, Llama 3: their
    /// `config.json`.
    static let all = [
        PublishedShape(
            name: "tinyllama-1.1b", hidden: 2048, intermediate: 5632, layers: 22, heads: 32, keyValueHeads: 4,
            epsilon: 1e-5),
        PublishedShape(name: "llama-7b", hidden: 4096, intermediate: 11008, layers: 32, heads: 32),
        PublishedShape(name: "llama-13b", hidden: 5120, intermediate: 13824, layers: 40, heads: 40),
        PublishedShape(name: "llama-30b", hidden: 6656, intermediate: 17920, layers: 60, heads: 52),
        PublishedShape(name: "llama-65b", hidden: 8192, intermediate: 22016, layers: 80, heads: 64),
        PublishedShape(
            name: "llama2-7b", hidden: 4096, intermediate: 11008, layers: 32, heads: 32, positions: 4096,
            epsilon: 1e-5),
        PublishedShape(
            name: "llama2-13b", hidden: 5120, intermediate: 13824, layers: 40, heads: 40, positions: 4096,
            epsilon: 1e-5),
        PublishedShape(
            name: "llama3-8b", vocabulary: 128_256, hidden: 4096, intermediate: 14336, layers: 32, heads: 32,
            keyValueHeads: 8, positions: 8192, epsilon: 1e-5, ropeTheta: 500_000),
    ]
}
