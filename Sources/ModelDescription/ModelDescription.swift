// ModelDescription: from `config.json` to what a model computes: families, structure, positions, tensors and their names,
// how one-bit layers are stored; and the checkpoint, which holds a directory's tensors against that description.
//
// Teacher, student, packing and packed runtime all read this description and are each written once over it. May import JSON
// and TensorFiles: a checkpoint is a configuration and tensor files, and is where the two meet.

import TensorFiles

/// What a decoder computes, without reference to a family: all in which the families differ, except
/// their sizes and their tensors' names. Teacher, student and packed runtime are each written once, over this.
public struct DecoderStructure: Sendable, Hashable {
    /// How activations are normalized.
    public enum Normalization: Sendable, Hashable {
        /// x / √(mean(x²) + ε) ⊙ w (Zhang & Sennrich 2019)
        case rootMeanSquare
        /// The same with 1 + w in place of w
        case rootMeanSquareFromOne
        /// (x − mean x) / √(var x + ε) ⊙ w + b (Ba et al. 2016)
        case layer
    }

    /// Where a block's norms are.
    public enum NormPlacement: Sendable, Hashable {
        /// x + f(norm(x))
        case beforeSublayers
        /// norm(x + f(x))
        case afterSublayers
        /// x + norm(f(x))
        case onSublayerOutputs
        /// x + norm′(f(norm(x)))
        case aroundSublayers
    }

    /// What of queries and keys is normalized (RMS) before they are rotated.
    public enum QueryKeyNorm: Sendable, Hashable {
        /// Each head, with the same weights.
        case heads
        /// The vectors of all heads together.
        case vectors
    }

    /// The perceptron of a block.
    public enum MLP: Sendable, Hashable {
        /// (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ (Shazeer 2020)
        case gatedSiLU
        /// (gelu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ, with the approximation of GELU by tanh (Hendrycks & Gimpel 2016)
        case gatedGELU
        /// relu(x Wuᵀ) Wdᵀ
        case rectified
    }

    /// How a token's position enters.
    public enum Positions: Sendable, Hashable {
        /// Queries and keys are rotated.
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
    /// Whether there is a norm between the last block and the output projection.
    public var hasFinalNorm = true
    public var mlp = MLP.gatedSiLU
    public var positions: Positions
    /// How the layers of `windowedLayers` rotate, where they do otherwise than the others.
    public var windowedRotation: RotaryPositions?
    /// Layers that do not rotate queries and keys where positions are rotary.
    public var unrotatedLayers: Set<Int> = []
    /// nil where queries and keys are not normalized.
    public var queryKeyNorm: QueryKeyNorm?
    /// Factor of the scores q · k; nil for 1/√d.
    public var attentionScale: Float?
    /// c of the scores s · factor, of which the softmax takes c tanh(s / c) (Bello et al. 2017); nil where it takes them as they are.
    public var attentionSoftCap: Float?
    /// Factor of the token embedding.
    public var embeddingMultiplier: Float = 1
    /// Factor of what a sublayer adds to the residual stream.
    public var residualMultiplier: Float = 1
    /// Factor of what the output projection reads, and so of the logits.
    public var logitMultiplier: Float = 1
    /// c of the logits, which are c tanh(x / c) of what the output projection gives; nil where they are that itself.
    public var logitSoftCap: Float?
    /// The linears that add a bias.
    public var biases: Set<LinearRole> = []
    /// How many positions, its own included, a token sees in the layers of `windowedLayers`; nil for all before it.
    public var slidingWindow: Int?
    /// Layers that see no more than `slidingWindow`.
    public var windowedLayers: Set<Int> = []
    /// Width of the token embedding, where projections are between it and a residual stream of another width; nil
    /// where it is the hidden size.
    public var projectedEmbeddingSize: Int?

    init(positions: Positions) { self.positions = positions }

    /// The rotations that there are; layers name theirs by its number.
    package var rotations: [RotaryPositions] {
        guard case .rotary(let rotary) = positions else { return [] }
        return [rotary] + (windowedRotation.map { [$0] } ?? [])
    }

    /// Whether the MLP is gated.
    package var isGated: Bool { mlp != .rectified }

    /// Whether the rotation of a position depends on the length of its sequence.
    public var dependsOnLength: Bool {
        if case .rotary(let rotary) = positions { rotary.dependsOnLength } else { false }
    }

    /// Linears of a block in forward order.
    var linearRoles: [LinearRole] {
        LinearRole.allCases.filter { $0 != .gate || isGated }
    }
}

/// One linear layer of a transformer block: what becomes a one-bit layer.
public struct LinearDescription: Sendable, Hashable {
    /// Name without `.weight`, e.g. `model.layers.0.self_attn.q_proj`.
    public let name: String
    /// The block's number, from 0.
    public let layer: Int
    /// Columns of the weight.
    public let inputs: Int
    /// Rows of the weight.
    public let outputs: Int
    /// Whether a bias [out] is added to the layer's output; it stays in float.
    public let hasBias: Bool

    /// A linear layer of a block.
    public init(name: String, layer: Int, inputs: Int, outputs: Int, hasBias: Bool = false) {
        self.name = name
        self.layer = layer
        self.inputs = inputs
        self.outputs = outputs
        self.hasBias = hasBias
    }

    /// Key of the weight: dense or latent float [out, in], or packed int8 [out, ⌈in/8⌉].
    public var weightName: String { name + ".weight" }
    /// Key of the paper's h [out] (`outputScale`).
    public var outputScaleName: String { name + ".weight_scale" }
    /// Key of the paper's g [in] (`inputScale`).
    public var inputScaleName: String { name + ".input_factor" }
    /// The bias; nil without one.
    public var bias: TensorShape? { hasBias ? TensorShape(name: name + ".bias", shape: [outputs]) : nil }
    /// Bytes of a packed row.
    public var packedBytesPerRow: Int { (inputs + 7) / 8 }
    /// Number of weights.
    public var weightCount: Int { inputs * outputs }
}

/// Tensors of a norm: weights [width], and a shift where the norm is a LayerNorm.
public struct NormDescription: Sendable, Hashable {
    public let weight: TensorShape
    public let bias: TensorShape?
    /// Whether the stored weights are what is added to 1.
    public var countsFromOne = false

    /// Both, or the one there is.
    public var tensors: [TensorShape] { [weight] + (bias.map { [$0] } ?? []) }
}

/// The parts of one transformer block, by their names in the checkpoint.
public struct BlockDescription: Sendable, Hashable {
    /// The block's number, from 0.
    public let layer: Int
    public let attentionNorm: NormDescription
    public let query: LinearDescription
    public let key: LinearDescription
    public let value: LinearDescription
    public let output: LinearDescription
    /// Norms of queries and keys, of each head [headSize] or of all together [heads · headSize]; nil where the family has
    /// none.
    public let queryNorm: NormDescription?
    public let keyNorm: NormDescription?
    public let mlpNorm: NormDescription
    /// Norms of what the sublayers give, where there are norms before them too.
    public let attentionOutputNorm: NormDescription?
    public let mlpOutputNorm: NormDescription?
    /// nil where the MLP is not gated.
    public let gate: LinearDescription?
    public let up: LinearDescription
    public let down: LinearDescription
    /// Positions that a token sees, its own included; nil for all before it.
    public let slidingWindow: Int?
    /// Which of the model's rotations queries and keys are turned by; nil for none.
    package let rotation: Int?

    /// The linears in forward order; these become one-bit layers.
    public var linears: [LinearDescription] {
        [query, key, value, output] + (gate.map { [$0] } ?? []) + [up, down]
    }

    /// The linears by what they read: q, k, v; o; gate, up; down.
    package var inputGroups: [[LinearDescription]] {
        [[query, key, value], [output], (gate.map { [$0] } ?? []) + [up], [down]]
    }

    /// The tensors that stay in float: norms, then biases.
    public var floatTensors: [TensorShape] {
        [attentionNorm, attentionOutputNorm, mlpNorm, mlpOutputNorm, queryNorm, keyNorm].compactMap { $0 }
            .flatMap(\.tensors)
            + linears.compactMap(\.bias)
    }
}

/// The query heads that share a key/value head (Ainslie et al. 2023).
package struct HeadGroups: Sendable, Hashable {
    package let headSize: Int
    package let headsPerGroup: Int

    package init(_ configuration: ModelConfiguration) {
        headSize = configuration.headSize
        headsPerGroup = configuration.attentionHeadCount / configuration.keyValueHeadCount
    }

    /// Of a vector over the channels of query heads, the part of each group's first head.
    package func first(of vector: [Float]) -> [Float] {
        stride(from: 0, to: vector.count, by: headSize * headsPerGroup).flatMap { vector[$0..<$0 + headSize] }
    }

    /// A vector over the channels of key/value heads, as the query heads see it.
    package func repeated(_ vector: [Float]) -> [Float] {
        stride(from: 0, to: vector.count, by: headSize).flatMap { first in
            (0..<headsPerGroup).flatMap { _ in vector[first..<first + headSize] }
        }
    }
}
