import ModelDescription
import TensorFiles

/// What one linear layer takes, dense and as a one-bit layer.
public struct LayerSize: Sendable, Hashable {
    /// The layer's name, e.g. `model.layers.0.self_attn.q_proj`.
    public let name: String
    /// Rows.
    public let outputs: Int
    /// Columns.
    public let inputs: Int
    /// Bits of a stored value vector's element.
    public let valueBits: Int

    /// A layer of a model.
    public init(_ linear: LinearDescription, valueBits: Int = 16) {
        self.init(name: linear.name, outputs: linear.outputs, inputs: linear.inputs, valueBits: valueBits)
    }

    /// A layer of any shape.
    public init(name: String = "", outputs: Int, inputs: Int, valueBits: Int = 16) {
        self.name = name
        self.outputs = outputs
        self.inputs = inputs
        self.valueBits = valueBits
    }

    /// Weights of the dense layer.
    public var weightCount: Int { outputs * inputs }
    /// Elements of g and h.
    public var valueCount: Int { outputs + inputs }
    /// Bytes of the signs, rows padded to whole bytes.
    public var signBytes: Int { outputs * ((inputs + 7) / 8) }
    /// Bytes of g and h.
    public var valueBytes: Int { valueCount * valueBits / 8 }
    /// Bytes of the one-bit layer.
    public var packedBytes: Int { signBytes + valueBytes }

    /// Stored bits over stored parameters, value vectors counted among both (paper §3.2): for n × n,
    ///
    ///     (n² + 16 · 2n) / (n² + 2n),   1.0073 at n = 4096.
    public var bitsPerParameter: Double { Double(packedBytes * 8) / Double(weightCount + valueCount) }

    /// Stored bits over the weights of the dense layer that it replaces: 1.0078 at n = 4096.
    public var bitsPerWeight: Double { Double(packedBytes * 8) / Double(weightCount) }
}

/// What a model takes, before and after, from its configuration alone.
///
/// With 16-bit floats this is the paper's Table 3: linears of the blocks as signs and float16 vectors; embeddings,
/// norms and output projection in float16; GB of 10⁹ bytes.
public struct ModelSize: Sendable, Hashable {
    /// Every linear of the blocks.
    public let layers: [LayerSize]
    /// Parameters that stay in float: embeddings, norms, output projection unless tied.
    public let floatCount: Int
    /// Bytes of a float.
    public let floatBytes: Int
    /// Bytes of what stays in float, and of embedding and output projection in 8 bits where they are packed so.
    public let packedOtherBytes: Int

    /// The size of a model of a configuration with floats of a type. Embedding and output projection are packed as the
    /// configuration says.
    public init(_ configuration: ModelConfiguration, floatType: ElementType = .float16) {
        floatBytes = floatType.byteWidth
        packedOtherBytes = configuration.packedOtherTensors { _ in floatType }.reduce(0) { $0 + $1.byteCount }
        layers = configuration.linears.map { LayerSize($0, valueBits: floatType.byteWidth * 8) }
        floatCount = configuration.floatTensors.reduce(0) { $0 + $1.elementCount }
    }

    /// Weights of the linears.
    public var linearWeightCount: Int { layers.reduce(0) { $0 + $1.weightCount } }
    /// Parameters of the dense model.
    public var parameterCount: Int { linearWeightCount + floatCount }
    /// Bytes of the dense linears.
    public var denseLinearBytes: Int { linearWeightCount * floatBytes }
    /// Bytes of the one-bit linears.
    public var packedLinearBytes: Int { layers.reduce(0) { $0 + $1.packedBytes } }
    /// Bytes of what stays in float.
    public var otherBytes: Int { floatCount * floatBytes }
    /// Bytes of the dense model.
    public var denseBytes: Int { denseLinearBytes + otherBytes }
    /// Bytes of the packed model.
    public var packedBytes: Int { packedLinearBytes + packedOtherBytes }
    /// Stored bits over stored parameters of the linears.
    public var linearBitsPerParameter: Double {
        Double(packedLinearBytes * 8) / Double(layers.reduce(0) { $0 + $1.weightCount + $1.valueCount })
    }
    /// Bits of the whole packed model over parameters of the dense one.
    public var bitsPerWeight: Double { Double(packedBytes * 8) / Double(parameterCount) }
    /// Fraction of the dense bytes that packing saves.
    public var savedFraction: Double { 1 - Double(packedBytes) / Double(denseBytes) }
}

/// What a checkpoint holds, counted from its headers.
public struct CheckpointSummary: Sendable {
    /// One linear of a block as it is stored.
    public struct Layer: Sendable, Hashable {
        /// The layer's name.
        public let name: String
        /// Rows.
        public let outputs: Int
        /// Columns.
        public let inputs: Int
        /// What the weight is stored as, such as `F16`, or `Q4_K` in a GGUF file.
        public let weightType: String
        /// Bytes of weight and value vectors.
        public let storedBytes: Int
        /// Stored bits per weight of the dense layer.
        public var bitsPerWeight: Double { Double(storedBytes * 8) / Double(outputs * inputs) }
    }

    /// What the linears are stored as.
    public let kind: CheckpointKind
    /// Every linear of the blocks, in forward order.
    public let layers: [Layer]
    /// Stored bytes of the tensors that stay in float, or are stored in 8 bits.
    public let otherBytes: Int
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
                .map { try checkpoint.storage(of: $0.name) }
            return Layer(
                name: linear.name,
                outputs: linear.outputs,
                inputs: linear.inputs,
                weightType: tensors[0].type,
                storedBytes: tensors.reduce(0) { $0 + $1.byteCount }
            )
        }
        otherBytes = try configuration.packedOtherTensors { _ in .float32 }
            .reduce(0) { $0 + (try checkpoint.storage(of: $1.name)).byteCount }
    }

    /// Stored bytes of the linears.
    public var linearBytes: Int { layers.reduce(0) { $0 + $1.storedBytes } }
    /// Stored bytes of all tensors.
    public var byteCount: Int { linearBytes + otherBytes }
    /// Stored bits of the linears per weight of the dense model.
    public var linearBitsPerWeight: Double { Double(linearBytes * 8) / Double(size.linearWeightCount) }
    /// Stored bits per parameter of the dense model.
    public var bitsPerWeight: Double { Double(byteCount * 8) / Double(size.parameterCount) }
}

extension ModelConfiguration {
    /// Tensors beside those of the linears, in forward order, embedding and output projection in 8 bits where they are.
    fileprivate func packedOtherTensors(_ floatType: (TensorShape) -> ElementType) -> [TensorDescription] {
        let linearTensors = Set(
            linears.flatMap { $0.tensors(kind: .packed, weightType: .int8, valueType: .float32).map(\.name) })
        return tensorPlan(
            kind: .packed, weightType: .int8, valueType: .float32,
            embeddingFormat: quantization?.embeddingFormat ?? .float, floatType: floatType
        )
        .filter { !linearTensors.contains($0.name) }
    }
}
