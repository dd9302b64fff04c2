/// What a parameter is for; recipes choose by it what is trained and how fast.
public enum ParameterGroup: String, Sendable, Codable, CaseIterable {
    /// Matrix of a dense linear layer.
    case dense
    /// The float matrix W whose signs a OneBit layer uses.
    case latent
    /// The value vectors g and h of a OneBit layer.
    case scales
    /// Embeddings, output head, and the projections between them and the residual stream.
    case embedding
    /// Weights of the norms, and biases.
    case norm
}

/// A tensor of a model under its checkpoint name.
public struct Parameter: Sendable {
    public let name: String
    public let tensor: Tensor
    public let group: ParameterGroup
}

/// The form of a model's linear layers.
public enum LinearForm: Sendable {
    /// As in the original checkpoint.
    case dense
    /// Signs between two value vectors, LayerNorm with the given ε behind each unless nil.
    case oneBit(layerNormEpsilon: Float?, signGradient: SignGradient)
}
