import TensorFiles

extension ModelConfiguration {
    /// Every tensor of a checkpoint of this model, in the order in which the model computes with them.
    ///
    /// - Parameters:
    ///   - kind: how the linears are stored. Packed weights are int8 [out, ⌈in/8⌉] whatever `weightType` says.
    ///   - weightType: element type of dense or latent weights.
    ///   - valueType: element type of the value vectors.
    ///   - floatType: element type of each tensor that stays in float.
    public func tensorPlan(
        kind: CheckpointKind,
        weightType: ElementType,
        valueType: ElementType,
        floatType: (TensorShape) throws -> ElementType
    ) rethrows -> [TensorDescription] {
        try tensorSlots.flatMap { slot -> [TensorDescription] in
            switch slot {
            case .float(let tensor):
                [TensorDescription(name: tensor.name, elementType: try floatType(tensor), shape: tensor.shape)]
            case .linear(let linear):
                linear.tensors(kind: kind, weightType: weightType, valueType: valueType)
            }
        }
    }

    /// Linears and float tensors in the order in which the model computes with them, the embedding first.
    public var tensorSlots: [TensorSlot] {
        inputTensors.map(TensorSlot.float)
            + (0..<layerCount).flatMap { layer in
                block(layer).floatTensors.map(TensorSlot.float)
                    + blockLinears(layer: layer).map(TensorSlot.linear)
            }
            + outputTensors.map(TensorSlot.float)
    }
}

/// A place of the model that tensors fill.
public enum TensorSlot: Sendable, Hashable {
    /// A tensor that stays in float.
    case float(TensorShape)
    /// A linear of a block: one tensor when dense, three as a one-bit layer.
    case linear(LinearDescription)
}

extension LinearDescription {
    /// The stored tensors of this linear.
    public func tensors(
        kind: CheckpointKind,
        weightType: ElementType,
        valueType: ElementType
    ) -> [TensorDescription] {
        let isPacked = kind == .packed
        let weight = TensorDescription(
            name: weightName,
            elementType: isPacked ? .int8 : weightType,
            shape: [outputs, isPacked ? packedBytesPerRow : inputs]
        )
        if kind == .dense { return [weight] }
        return [
            weight,
            TensorDescription(name: outputScaleName, elementType: valueType, shape: [outputs]),
            TensorDescription(name: inputScaleName, elementType: valueType, shape: [inputs]),
        ]
    }
}
