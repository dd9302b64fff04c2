/// What a decoder computes, in terms in which no family's name stands: all that tells LLaMA, Mistral, Qwen and OPT apart
/// but their sizes and their tensors' names. Teacher, student and packed runtime are each written once, over this.
public struct DecoderStructure: Sendable, Hashable {
    /// How activations are normalised.
    public enum Normalization: Sendable, Hashable {
        /// x / √(mean(x²) + ε) ⊙ w (Zhang & Sennrich 2019)
        case rootMeanSquare
        /// (x − mean x) / √(var x + ε) ⊙ w + b (Ba et al. 2016)
        case layer
    }

    /// Where a block's norms stand.
    public enum NormPlacement: Sendable, Hashable {
        /// x + f(norm(x))
        case beforeSublayers
        /// norm(x + f(x))
        case afterSublayers
    }

    /// The perceptron of a block.
    public enum MLP: Sendable, Hashable {
        /// (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ (Shazeer 2020)
        case gatedSiLU
        /// relu(x Wuᵀ) Wdᵀ
        case rectified
    }

    /// How a token's place enters.
    public enum Positions: Sendable, Hashable {
        /// Queries and keys are turned.
        case rotary(RotaryPositions)
        /// Row position + offset of a table is added to the embedding.
        case learned(offset: Int)
    }

    /// Which linear of a block.
    public enum LinearRole: Sendable, Hashable, CaseIterable {
        case query, key, value, output, gate, up, down
    }

    public var normalization = Normalization.rootMeanSquare
    public var normPlacement = NormPlacement.beforeSublayers
    /// Whether a norm stands between the last block and the output projection.
    public var hasFinalNorm = true
    public var mlp = MLP.gatedSiLU
    public var positions: Positions
    /// Whether each head's queries and keys are normalised (RMS) before they are turned.
    public var normalizesQueriesAndKeys = false
    /// The linears that add a bias.
    public var biases: Set<LinearRole> = []
    /// How many positions, its own included, a token sees in the layers of `windowedLayers`; nil for all before it.
    public var slidingWindow: Int?
    /// Layers that see no more than `slidingWindow`.
    public var windowedLayers: Set<Int> = []
    /// Width of the token embedding, where projections stand between it and a residual stream of another width; nil
    /// where it is the hidden size.
    public var projectedEmbeddingSize: Int?

    init(positions: Positions) { self.positions = positions }

    /// Whether what a token's place means depends on the length of its sequence.
    public var dependsOnLength: Bool {
        if case .rotary(let rotary) = positions { rotary.dependsOnLength } else { false }
    }

    /// Linears of a block in forward order.
    var linearRoles: [LinearRole] {
        LinearRole.allCases.filter { $0 != .gate || mlp == .gatedSiLU }
    }
}
