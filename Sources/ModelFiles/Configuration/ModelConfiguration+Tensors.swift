extension ModelConfiguration {
    /// The linears of one block, in forward order.
    public func blockLinears(layer: Int) -> [LinearDescription] {
        family.linears.map {
            LinearDescription(
                name: "\(family.blockPrefix)\(layer).\($0.name)",
                layer: layer,
                inputs: size(of: $0.inputs),
                outputs: size(of: $0.outputs)
            )
        }
    }

    /// The linears of all blocks, in forward order.
    public var linears: [LinearDescription] {
        (0..<layerCount).flatMap(blockLinears)
    }

    /// The tensors that stay in float: embeddings, norms, and the output projection unless it is tied.
    public var floatTensors: [TensorShape] {
        inputTensors + (0..<layerCount).flatMap(blockFloatTensors) + outputTensors
    }

    /// The float tensors before the blocks: the token embedding.
    public var inputTensors: [TensorShape] {
        family.inputs.map { shape(of: $0) }
    }

    /// The float tensors after the blocks: the final norm, and the output projection unless it is tied.
    public var outputTensors: [TensorShape] {
        family.outputs.map { shape(of: $0) } + (tiedEmbeddings ? [] : [shape(of: family.head)])
    }

    /// The tensors of one block that stay in float.
    public func blockFloatTensors(layer: Int) -> [TensorShape] {
        family.blockFloats.map { shape(of: $0, prefix: "\(family.blockPrefix)\(layer).") }
    }

    /// Number of weights in the linears of all blocks.
    public var linearWeightCount: Int {
        layerCount * blockLinears(layer: 0).reduce(0) { $0 + $1.weightCount }
    }

    /// Number of parameters of the dense model.
    public var parameterCount: Int {
        linearWeightCount + floatTensors.reduce(0) { $0 + $1.elementCount }
    }

    /// Whether a stored tensor may be passed over: nothing that the model computes with.
    func ignores(_ name: String) -> Bool {
        family.ignoredSuffixes.contains { name.hasSuffix($0) } || (tiedEmbeddings && name == family.head.name)
    }

    private func shape(of tensor: ModelFamily.FloatTensor, prefix: String = "") -> TensorShape {
        TensorShape(name: prefix + tensor.name, shape: tensor.shape.map(size))
    }

    private func size(of extent: ModelFamily.Extent) -> Int {
        switch extent {
        case .vocabulary: vocabularySize
        case .hidden: hiddenSize
        case .intermediate: intermediateSize
        case .queries: attentionHeadCount * headSize
        case .keyValues: keyValueHeadCount * headSize
        }
    }
}
