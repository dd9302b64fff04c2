import TensorFiles

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
