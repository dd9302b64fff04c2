import TensorFiles

extension ModelConfiguration {
    /// The parts of one block.
    public func block(_ layer: Int) -> BlockDescription {
        let gate = structure.linearRoles.contains(.gate) ? linear(.gate, layer: layer) : nil
        let hasOutputNorms = structure.normPlacement == .aroundSublayers
        let isWindowed = structure.windowedLayers.contains(layer)
        let isRotated = !structure.rotations.isEmpty && !structure.unrotatedLayers.contains(layer)
        return BlockDescription(
            layer: layer,
            attentionNorm: norm(blockPrefix(layer) + names.attentionNorm),
            query: linear(.query, layer: layer),
            key: linear(.key, layer: layer),
            value: linear(.value, layer: layer),
            output: linear(.output, layer: layer),
            queryNorm: queryKeyNorm(blockPrefix(layer) + names.queryNorm, heads: attentionHeadCount),
            keyNorm: queryKeyNorm(blockPrefix(layer) + names.keyNorm, heads: keyValueHeadCount),
            mlpNorm: norm(blockPrefix(layer) + names.mlpNorm),
            attentionOutputNorm: hasOutputNorms ? norm(blockPrefix(layer) + names.attentionOutputNorm) : nil,
            mlpOutputNorm: hasOutputNorms ? norm(blockPrefix(layer) + names.mlpOutputNorm) : nil,
            gate: gate,
            up: linear(.up, layer: layer),
            down: linear(.down, layer: layer),
            slidingWindow: isWindowed ? structure.slidingWindow : nil,
            rotation: isRotated ? (isWindowed && structure.windowedRotation != nil ? 1 : 0) : nil
        )
    }

    /// The linears of one block, in forward order.
    public func blockLinears(layer: Int) -> [LinearDescription] {
        structure.linearRoles.map { linear($0, layer: layer) }
    }

    /// The linears of all blocks, in forward order.
    public var linears: [LinearDescription] {
        (0..<layerCount).flatMap(blockLinears)
    }

    /// The matrices that checkpoints of the family's own hold as one, the linears' rows one below the other, by its name. Where
    /// they are each by themselves, that is read too, and students are written so.
    package var fusedLinears: [String: [LinearDescription]] {
        var fused: [String: [LinearDescription]] = [:]
        for layer in 0..<(names.fused.isEmpty ? 0 : layerCount) {
            for (name, roles) in names.fused {
                fused[blockPrefix(layer) + name + ".weight"] = roles.map { linear($0, layer: layer) }
            }
        }
        return fused
    }

    /// A plan of a dense checkpoint as the family's own have it, with the fused matrices.
    package func fused(_ plan: [TensorDescription]) -> [TensorDescription] {
        var matrices: [String: (name: String, rows: Int)] = [:]
        var others = Set<String>()
        for (name, linears) in fusedLinears {
            matrices[linears[0].weightName] = (name, linears.reduce(0) { $0 + $1.outputs })
            others.formUnion(linears.dropFirst().map(\.weightName))
        }
        return plan.compactMap { tensor in
            if others.contains(tensor.name) { return nil }
            guard let (name, rows) = matrices[tensor.name] else { return tensor }
            return TensorDescription(name: name, elementType: tensor.elementType, shape: [rows, tensor.shape[1]])
        }
    }

    /// The token embedding [vocabulary, embedding size].
    public var embedding: TensorShape {
        TensorShape(name: names.embedding + ".weight", shape: [vocabularySize, embeddingSize])
    }

    /// The table of learned positions [positions + offset, hidden size].
    public var positionEmbedding: TensorShape? {
        guard case .learned(let offset) = structure.positions else { return nil }
        return TensorShape(name: names.positions + ".weight", shape: [maximumPositions + offset, hiddenSize])
    }

    /// From the embedding's width to the residual stream's [hidden size, embedding size].
    public var inputProjection: TensorShape? {
        structure.projectedEmbeddingSize.map {
            TensorShape(name: names.inputProjection + ".weight", shape: [hiddenSize, $0])
        }
    }

    /// From the residual stream's width to the output projection's [embedding size, hidden size].
    public var outputProjection: TensorShape? {
        structure.projectedEmbeddingSize.map {
            TensorShape(name: names.outputProjection + ".weight", shape: [$0, hiddenSize])
        }
    }

    /// The norm behind the last block.
    public var finalNorm: NormDescription? { structure.hasFinalNorm ? norm(names.finalNorm) : nil }

    /// The output projection [vocabulary, embedding size]: the embedding itself where they are tied.
    public var head: TensorShape {
        tiedEmbeddings
            ? embedding : TensorShape(name: names.head + ".weight", shape: [vocabularySize, embeddingSize])
    }

    /// The embedding, and the output projection unless it is tied: what a packed checkpoint may hold in 8 bits.
    public var embeddingTensors: [TensorShape] { [embedding] + (tiedEmbeddings ? [] : [head]) }

    /// Width of the token embedding.
    public var embeddingSize: Int { structure.projectedEmbeddingSize ?? hiddenSize }

    /// The tensors that stay in float: embeddings, norms, biases, and the output projection unless it is tied.
    public var floatTensors: [TensorShape] {
        inputTensors + (0..<layerCount).flatMap { block($0).floatTensors } + outputTensors
    }

    /// The float tensors before the blocks.
    package var inputTensors: [TensorShape] {
        [embedding] + [positionEmbedding, inputProjection].compactMap { $0 }
    }

    /// The float tensors after the blocks.
    package var outputTensors: [TensorShape] {
        (finalNorm?.tensors ?? []) + (outputProjection.map { [$0] } ?? []) + (tiedEmbeddings ? [] : [head])
    }

    /// Number of weights in the linears of all blocks.
    public var linearWeightCount: Int {
        layerCount * blockLinears(layer: 0).reduce(0) { $0 + $1.weightCount }
    }

    /// Number of parameters of the dense model.
    public var parameterCount: Int {
        linearWeightCount + floatTensors.reduce(0) { $0 + $1.elementCount }
    }

    /// Whether nothing is computed with a stored tensor, so that it need not be read, or be there.
    func ignores(_ name: String) -> Bool {
        names.ignoredSuffixes.contains { name.hasSuffix($0) }
            || (tiedEmbeddings && name.hasPrefix(names.head + ".weight"))
    }

    /// The name of a stored tensor as the whole model has it: checkpoints of the bare decoder leave a prefix out.
    func canonicalName(_ stored: String) -> String {
        let isWhole = stored.hasPrefix(names.basePrefix) || stored.hasPrefix(names.head + ".")
        return isWhole ? stored : names.basePrefix + stored
    }

    private var names: TensorNames { family.names }

    private func blockPrefix(_ layer: Int) -> String { "\(names.blockPrefix)\(layer)." }

    private func linear(_ role: DecoderStructure.LinearRole, layer: Int) -> LinearDescription {
        let (inputs, outputs) = extents(of: role)
        return LinearDescription(
            name: blockPrefix(layer) + names.linear(role), layer: layer, inputs: inputs, outputs: outputs,
            hasBias: structure.biases.contains(role))
    }

    private func extents(of role: DecoderStructure.LinearRole) -> (inputs: Int, outputs: Int) {
        switch role {
        case .query: (hiddenSize, attentionHeadCount * headSize)
        case .key, .value: (hiddenSize, keyValueHeadCount * headSize)
        case .output: (attentionHeadCount * headSize, hiddenSize)
        case .gate, .up: (hiddenSize, intermediateSize)
        case .down: (intermediateSize, hiddenSize)
        }
    }

    private func norm(_ name: String) -> NormDescription {
        let isLayerNorm = structure.normalization == .layer
        return NormDescription(
            weight: TensorShape(name: name + ".weight", shape: [hiddenSize]),
            bias: isLayerNorm ? TensorShape(name: name + ".bias", shape: [hiddenSize]) : nil,
            countsFromOne: structure.normalization == .rootMeanSquareFromOne)
    }

    private func queryKeyNorm(_ name: String, heads: Int) -> NormDescription? {
        structure.queryKeyNorm.map {
            let width = $0 == .heads ? headSize : heads * headSize
            return NormDescription(
                weight: TensorShape(name: name + ".weight", shape: [width]), bias: nil,
                countsFromOne: structure.normalization == .rootMeanSquareFromOne)
        }
    }
}

extension ModelConfiguration {
    /// Every tensor of a checkpoint of this model, in the order in which the model computes with them.
    ///
    /// - Parameters:
    ///   - kind: how the linears are stored. Packed weights are int8 [out, ⌈in/8⌉] whatever `weightType` says.
    ///   - weightType: element type of dense or latent weights.
    ///   - valueType: element type of the value vectors.
    ///   - embeddingFormat: how embedding and output projection are stored.
    ///   - floatType: element type of each tensor that stays in float.
    public func tensorPlan(
        kind: CheckpointKind,
        weightType: ElementType,
        valueType: ElementType,
        embeddingFormat: QuantizationConfiguration.EmbeddingFormat = .float,
        floatType: (TensorShape) throws -> ElementType
    ) rethrows -> [TensorDescription] {
        let int8Tensors = embeddingFormat == .int8 ? Set(embeddingTensors) : []
        return try parts.flatMap { part -> [TensorDescription] in
            switch part {
            case .float(let tensor) where int8Tensors.contains(tensor):
                [
                    TensorDescription(name: tensor.name, elementType: .int8, shape: tensor.shape),
                    TensorDescription(
                        name: tensor.rowScale.name, elementType: .float32, shape: tensor.rowScale.shape),
                ]
            case .float(let tensor):
                [TensorDescription(name: tensor.name, elementType: try floatType(tensor), shape: tensor.shape)]
            case .linear(let linear):
                linear.tensors(kind: kind, weightType: weightType, valueType: valueType)
            }
        }
    }

    /// Linears and float tensors in the order in which the model computes with them, the embedding first.
    package var parts: [ModelPart] {
        inputTensors.map(ModelPart.float)
            + (0..<layerCount).flatMap { layer in
                block(layer).floatTensors.map(ModelPart.float)
                    + blockLinears(layer: layer).map(ModelPart.linear)
            }
            + outputTensors.map(ModelPart.float)
    }
}

/// A part of a model that tensors are stored for.
package enum ModelPart: Sendable, Hashable {
    /// A tensor that stays in float.
    case float(TensorShape)
    /// A linear of a block: one tensor when dense, three as a one-bit layer.
    case linear(LinearDescription)
}

extension TensorShape {
    /// The scales of the rows, [rows], where a matrix is stored in 8 bits: `X.weight_scale` of `X.weight`.
    public var rowScale: TensorShape { TensorShape(name: name + "_scale", shape: [shape[0]]) }
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
