/// What the student's latent weight starts from.
public enum LatentWeight: String, Sendable, CaseIterable, Codable {
    /// 0.01 · sign(W): the paper's.
    case sign
    /// W itself: the distance to zero then says how sure a sign is.
    case weight
}

/// The choices that make a start checkpoint, and the two presets of the design.
public struct StartRecipe: Sendable, Hashable, Codable {
    /// How |W| becomes g and h.
    public var method: DecompositionMethod
    /// What the latent weight is.
    public var latent: LatentWeight
    /// How g and h share the scale.
    public var scaleSplit: ScaleSplit
    /// Whether a LayerNorm follows every one-bit linear.
    public var postLayerNorm: Bool

    /// A recipe of its own.
    public init(method: DecompositionMethod, latent: LatentWeight, scaleSplit: ScaleSplit, postLayerNorm: Bool) {
        self.method = method
        self.latent = latent
        self.scaleSplit = scaleSplit
        self.postLayerNorm = postLayerNorm
    }

    /// The paper's (§3.2 and its released code).
    public static let paper = StartRecipe(method: .nmf, latent: .sign, scaleSplit: .nmf, postLayerNorm: true)
    /// The best that this project has measured; see dev/LOG.md.
    public static let standard = StartRecipe(
        method: .nmf,
        latent: .weight,
        scaleSplit: .balanced,
        postLayerNorm: false
    )

    /// Magnitude of the latent weight where it is made of signs alone.
    public static let signMagnitude: Float = 0.01
}
