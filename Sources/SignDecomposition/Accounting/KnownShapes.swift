import ModelFiles

extension ModelConfiguration {
    /// Names of the published shapes that can be asked for without their files.
    public static let knownShapes = ["llama-7b", "llama-13b", "llama-30b", "llama-65b"]

    /// A published shape (Touvron et al. 2023, Table 2), for sizes without weights.
    ///
    /// - Throws: ``ConfigurationError/unknownShape(found:known:)``.
    public init(shape: String) throws {
        let (hidden, intermediate, layers, heads): (Int, Int, Int, Int)
        switch shape.lowercased() {
        case "llama-7b": (hidden, intermediate, layers, heads) = (4096, 11008, 32, 32)
        case "llama-13b": (hidden, intermediate, layers, heads) = (5120, 13824, 40, 40)
        case "llama-30b": (hidden, intermediate, layers, heads) = (6656, 17920, 60, 52)
        case "llama-65b": (hidden, intermediate, layers, heads) = (8192, 22016, 80, 64)
        default: throw ConfigurationError.unknownShape(found: shape, known: Self.knownShapes)
        }
        try self.init(
            vocabularySize: 32000,
            hiddenSize: hidden,
            intermediateSize: intermediate,
            layerCount: layers,
            attentionHeadCount: heads,
            maximumPositions: 2048,
            normEpsilon: 1e-6,
            tiedEmbeddings: false
        )
    }
}
