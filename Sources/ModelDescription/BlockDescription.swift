import TensorFiles

/// Tensors of a norm: weights [width], and a shift where the norm is a LayerNorm.
public struct NormDescription: Sendable, Hashable {
    public let weight: TensorShape
    public let bias: TensorShape?

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
    /// Norms of each head's queries and keys [headSize]; nil where the family has none.
    public let queryNorm: NormDescription?
    public let keyNorm: NormDescription?
    public let mlpNorm: NormDescription
    /// nil where the MLP is not gated.
    public let gate: LinearDescription?
    public let up: LinearDescription
    public let down: LinearDescription
    /// Positions that a token sees, its own included; nil for all before it.
    public let slidingWindow: Int?

    /// The linears in forward order; these become one-bit layers.
    public var linears: [LinearDescription] {
        [query, key, value, output] + (gate.map { [$0] } ?? []) + [up, down]
    }

    /// The tensors that stay in float: norms, then biases.
    public var floatTensors: [TensorShape] {
        [attentionNorm, mlpNorm, queryNorm, keyNorm].compactMap { $0 }.flatMap(\.tensors)
            + linears.compactMap(\.bias)
    }
}
