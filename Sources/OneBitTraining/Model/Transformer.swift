import ModelDescription

/// A decoder on libtorch, of any family that `ModelConfiguration` describes. Teacher and student are the same model with
/// other linear layers.
///
/// Shapes: B sequences, T tokens, C hidden size, E embedding size, H query heads and K key/value heads of size D, V
/// vocabulary.
public final class Transformer: Sendable {
    public let configuration: ModelConfiguration
    /// Every tensor of the checkpoint, in checkpoint order.
    public let parameters: [Parameter]

    private let linears: LinearForm
    private let embedding: Tensor  // [V, E]
    private let positionEmbedding: Tensor?  // [positions + offset, C]
    private let inputProjection: Tensor?  // [C, E]
    private let blocks: [TransformerBlock]
    private let finalNorm: Norm?
    private let outputProjection: Tensor?  // [E, C]
    private let head: Tensor  // [V, E]; the embedding again where they are tied
    private let rotary: RotaryTable?

    /// - Parameter tensors: Gives each parameter by its checkpoint name.
    init(configuration: ModelConfiguration, linears: LinearForm, tensors: (_ name: String) throws -> Tensor) throws {
        var parameters: [Parameter] = []
        func parameter(_ name: String, _ group: ParameterGroup) throws -> Tensor {
            let tensor = try tensors(name)
            parameters.append(Parameter(name: name, tensor: tensor, group: group))
            return tensor
        }
        func linear(_ linear: LinearDescription) throws -> LinearLayer {
            let group: ParameterGroup = if case .dense = linears { .dense } else { .latent }
            let weight = try parameter(linear.weightName, group)
            guard case .oneBit(let layerNormEpsilon, let signGradient) = linears else {
                return .dense(weight: weight, bias: try linear.bias.map { try parameter($0.name, .norm) })
            }
            return .oneBit(
                OneBitLayer(
                    latent: weight,
                    inputScale: try parameter(linear.inputScaleName, .scales),
                    outputScale: try parameter(linear.outputScaleName, .scales),
                    bias: try linear.bias.map { try parameter($0.name, .norm) },
                    layerNormEpsilon: layerNormEpsilon,
                    signGradient: signGradient
                ))
        }
        func norm(_ norm: NormDescription) throws -> Norm {
            Norm(
                weight: try parameter(norm.weight.name, .norm),
                bias: try norm.bias.map { try parameter($0.name, .norm) },
                epsilon: configuration.normEpsilon)
        }

        embedding = try parameter(configuration.embedding.name, .embedding)
        positionEmbedding = try configuration.positionEmbedding.map { try parameter($0.name, .embedding) }
        inputProjection = try configuration.inputProjection.map { try parameter($0.name, .embedding) }
        blocks = try (0..<configuration.layerCount).map { layer in
            let block = configuration.block(layer)
            return TransformerBlock(
                attentionNorm: try norm(block.attentionNorm),
                attention: Attention(
                    block: block,
                    configuration: configuration,
                    query: try linear(block.query),
                    key: try linear(block.key),
                    value: try linear(block.value),
                    output: try linear(block.output),
                    queryNorm: try block.queryNorm.map(norm),
                    keyNorm: try block.keyNorm.map(norm)
                ),
                mlpNorm: try norm(block.mlpNorm),
                mlp: MLP(gate: try block.gate.map(linear), up: try linear(block.up), down: try linear(block.down)),
                normPlacement: configuration.structure.normPlacement
            )
        }
        finalNorm = try configuration.finalNorm.map(norm)
        outputProjection = try configuration.outputProjection.map { try parameter($0.name, .embedding) }
        head = configuration.tiedEmbeddings ? embedding : try parameter(configuration.head.name, .embedding)
        if case .rotary(let positions) = configuration.structure.positions {
            rotary = RotaryTable(positions, headSize: configuration.headSize)
        } else {
            rotary = nil
        }
        self.configuration = configuration
        self.linears = linears
        self.parameters = parameters
    }

    /// Numbers in all parameters.
    public var parameterCount: Int { parameters.reduce(0) { $0 + $1.tensor.elementCount } }

    /// The same weights, in tensors that gather gradients of their own.
    func replica() throws -> Transformer {
        let tensors = Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.tensor) })
        return try Transformer(configuration: configuration, linears: linears) { name in
            guard let tensor = tensors[name] else {
                throw TrainingError.invalidSetting(name: "tensor", value: name, expected: "one of the model's own")
            }
            return try tensor.detached()
        }
    }

    /// What a pass through the model leaves.
    public struct Output: Sendable {
        /// [B, T, V].
        public let logits: Tensor
        /// The states [B, T, C] that enter each block, the embedding output first; empty unless asked for.
        public let hiddenStates: [Tensor]
    }

    /// - Parameters:
    ///   - tokens: [B, T] ids.
    ///   - hiddenStates: Whether to keep the states that enter each block.
    public func callAsFunction(_ tokens: Tensor, hiddenStates: Bool = false) throws -> Output {
        var states: [Tensor] = []
        let places = try places(of: tokens.shape[1], after: 0)
        let x = try residual(tokens, places: places) { if hiddenStates { states.append($0) } }
        return Output(logits: try logits(of: headInput(x)), hiddenStates: states)
    }

    /// Feeds `tokens` [B, T] behind the ones in `cache` and returns the logits [B, V] that follow the last.
    func decode(_ tokens: Tensor, cache: KeyValueCache) throws -> Tensor {
        let length = tokens.shape[1]
        let places = try places(of: length, after: cache.length)
        let x = try residual(tokens, places: places, cache: cache).narrowed(1, from: length - 1, length: 1)
        cache.advance(by: length)
        return try logits(of: headInput(x)).reshaped([tokens.shape[0], configuration.vocabularySize])
    }

    func makeCache(batch: Int, capacity: Int) throws -> KeyValueCache {
        try KeyValueCache(
            layers: configuration.layerCount,
            batch: batch,
            heads: configuration.keyValueHeadCount,
            headSize: configuration.headSize,
            capacity: capacity
        )
    }

    // MARK: The parts of a pass

    /// The residual stream [B, T, C] behind the last block.
    ///
    /// - Parameter observe: Told of what enters each block.
    func residual(
        _ tokens: Tensor, places: TokenPlaces, cache: KeyValueCache? = nil, observe: (Tensor) -> Void = { _ in }
    ) throws -> Tensor {
        var x = try embedding.embedding(tokens)  // [B, T, E]
        if let inputProjection { x = try x.linear(inputProjection) }
        if let positions = places.embedding { x = try x + positions }
        for block in blocks {
            observe(x)
            x = try block(x, places: places, cache: cache)
        }
        return x
    }

    /// What the output head reads of rows [.., C] of the residual stream: normalised, and [.., E] wide.
    func headInput(_ x: Tensor) throws -> Tensor {
        let normed = try finalNorm.map { try $0(x) } ?? x
        return try outputProjection.map { try normed.linear($0) } ?? normed
    }

    /// [.., V] of what the output head reads.
    func logits(of headInput: Tensor) throws -> Tensor { try headInput.linear(head) }

    /// The places of `length` tokens that follow `start` others in every sequence.
    func places(of length: Int, after start: Int) throws -> TokenPlaces {
        TokenPlaces(
            rotary: try rotary?.rows(from: start, length: length, sequenceLength: start + length),
            embedding: try positionEmbedding?.narrowed(0, from: start + positionOffset, length: length),
            mask: try .consecutive(length: length, after: start, window: nil),
            windowMask: try .consecutive(length: length, after: start, window: configuration.structure.slidingWindow)
        )
    }

    /// The places of tokens that stand at any positions [B, T] and see what masks say.
    func places(of positions: [Int], batch: Int, mask: AttentionMask, windowMask: AttentionMask) throws -> TokenPlaces {
        let learned = try positionEmbedding?
            .selecting(Tensor(integers: positions.map { $0 + positionOffset }, shape: [positions.count]), along: 0)
            .reshaped([batch, positions.count / batch, configuration.hiddenSize])
        return TokenPlaces(
            rotary: try rotary?.rows(of: positions, batch: batch), embedding: learned, mask: mask,
            windowMask: windowMask)
    }

    private var positionOffset: Int {
        if case .learned(let offset) = configuration.structure.positions { offset } else { 0 }
    }
}
