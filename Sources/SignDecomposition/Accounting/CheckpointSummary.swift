import ModelDescription
import TensorFiles

/// What stands in a checkpoint, counted from its headers.
public struct CheckpointSummary: Sendable {
    /// One linear of a block as it is stored.
    public struct Layer: Sendable, Hashable {
        /// The layer's name.
        public let name: String
        /// Rows.
        public let outputs: Int
        /// Columns.
        public let inputs: Int
        /// How the weight is stored.
        public let weightType: ElementType
        /// Bytes of weight and value vectors.
        public let storedBytes: Int
        /// Stored bits per weight of the dense layer.
        public var bitsPerWeight: Double { Double(storedBytes * 8) / Double(outputs * inputs) }
    }

    /// What the linears are stored as.
    public let kind: CheckpointKind
    /// Every linear of the blocks, in forward order.
    public let layers: [Layer]
    /// Tensors that stay in float.
    public let others: [TensorDescription]
    /// The sizes that packing gives.
    public let size: ModelSize

    /// Counts a checkpoint. No weight is read.
    ///
    /// - Throws: `CheckpointError`.
    public init(_ checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        kind = checkpoint.kind
        size = ModelSize(configuration)
        layers = try configuration.linears.map { linear in
            let tensors = try linear.tensors(kind: checkpoint.kind, weightType: .float32, valueType: .float32)
                .map { try checkpoint.description(of: $0.name) }
            return Layer(
                name: linear.name,
                outputs: linear.outputs,
                inputs: linear.inputs,
                weightType: tensors[0].elementType,
                storedBytes: tensors.reduce(0) { $0 + $1.byteCount }
            )
        }
        others = try configuration.floatTensors.map { try checkpoint.description(of: $0.name) }
    }

    /// Stored bytes of the linears.
    public var linearBytes: Int { layers.reduce(0) { $0 + $1.storedBytes } }
    /// Stored bytes of the rest.
    public var otherBytes: Int { others.reduce(0) { $0 + $1.byteCount } }
    /// Stored bytes of all tensors.
    public var byteCount: Int { linearBytes + otherBytes }
    /// Stored bits of the linears per weight of the dense model.
    public var linearBitsPerWeight: Double { Double(linearBytes * 8) / Double(size.linearWeightCount) }
    /// Stored bits per parameter of the dense model.
    public var bitsPerWeight: Double { Double(byteCount * 8) / Double(size.parameterCount) }
}
