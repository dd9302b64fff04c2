import ModelFiles

/// A decoder of the LLaMA family on libtorch (Touvron et al. 2023): pre-norm blocks of grouped-query attention with
/// rotary positions and a SwiGLU perceptron. Teacher and student are the same model with other linear layers.
///
/// Shapes: B sequences, T tokens, C hidden size, H query heads and K key/value heads of size D, V vocabulary.
public final class LlamaModel: Sendable {
    public let configuration: ModelConfiguration
    /// Every tensor of the checkpoint, in checkpoint order.
    public let parameters: [Parameter]

    private let linears: LinearForm
    private let embedding: Tensor  // model.embed_tokens.weight [V, C]
    private let blocks: [LlamaBlock]
    private let finalNorm: Tensor  // model.norm.weight [C]
    private let head: Tensor  // lm_head.weight [V, C]; the embedding again where they are tied
    private let rotary: RotaryTable

    /// - Parameter tensors: Gives each parameter by its checkpoint name.
    init(configuration: ModelConfiguration, linears: LinearForm, tensors: (_ name: String) throws -> Tensor) throws {
        var parameters: [Parameter] = []
        func parameter(_ name: String, _ group: ParameterGroup) throws -> Tensor {
            let tensor = try tensors(name)
            parameters.append(Parameter(name: name, tensor: tensor, group: group))
            return tensor
        }
        func linear(_ name: String) throws -> LinearLayer {
            switch linears {
            case .dense:
                return .dense(weight: try parameter("\(name).weight", .dense))
            case .oneBit(let layerNormEpsilon, let signGradient):
                return .oneBit(
                    OneBitLayer(
                        latent: try parameter("\(name).weight", .latent),
                        inputScale: try parameter("\(name).input_factor", .scales),
                        outputScale: try parameter("\(name).weight_scale", .scales),
                        layerNormEpsilon: layerNormEpsilon,
                        signGradient: signGradient
                    ))
            }
        }

        embedding = try parameter("model.embed_tokens.weight", .embedding)
        blocks = try (0..<configuration.layerCount).map { layer in
            let prefix = "model.layers.\(layer)"
            return LlamaBlock(
                layer: layer,
                configuration: configuration,
                inputNorm: try parameter("\(prefix).input_layernorm.weight", .norm),
                query: try linear("\(prefix).self_attn.q_proj"),
                key: try linear("\(prefix).self_attn.k_proj"),
                value: try linear("\(prefix).self_attn.v_proj"),
                output: try linear("\(prefix).self_attn.o_proj"),
                postAttentionNorm: try parameter("\(prefix).post_attention_layernorm.weight", .norm),
                gate: try linear("\(prefix).mlp.gate_proj"),
                up: try linear("\(prefix).mlp.up_proj"),
                down: try linear("\(prefix).mlp.down_proj")
            )
        }
        finalNorm = try parameter("model.norm.weight", .norm)
        head = configuration.tiedEmbeddings ? embedding : try parameter("lm_head.weight", .embedding)
        rotary = try RotaryTable(
            positions: configuration.maximumPositions,
            headSize: configuration.headSize,
            theta: configuration.ropeTheta
        )
        self.configuration = configuration
        self.linears = linears
        self.parameters = parameters
    }

    /// Numbers in all parameters.
    public var parameterCount: Int { parameters.reduce(0) { $0 + $1.tensor.elementCount } }

    /// The same weights, in tensors that gather gradients of their own.
    func replica() throws -> LlamaModel {
        let tensors = Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.tensor) })
        return try LlamaModel(configuration: configuration, linears: linears) { name in
            guard let tensor = tensors[name] else {
                throw TrainingError.invalidSetting(name: "tensor", value: name, expected: "one of the model's own")
            }
            return try tensor.detached()
        }
    }

    /// What a pass through the model leaves.
    public struct Output: Sendable {
        /// [B, T, V], or [B, 1, V] of the last position alone.
        public let logits: Tensor
        /// The states [B, T, C] that enter each block, the embedding output first; empty unless asked for.
        public let hiddenStates: [Tensor]
    }

    /// - Parameters:
    ///   - tokens: [B, T] ids.
    ///   - hiddenStates: Whether to keep the states that enter each block.
    public func callAsFunction(_ tokens: Tensor, hiddenStates: Bool = false) throws -> Output {
        try forward(tokens, cache: nil, keepsHiddenStates: hiddenStates, lastPositionOnly: false)
    }

    /// Feeds `tokens` [B, T] behind the ones in `cache` and returns the logits [B, V] that follow the last.
    func decode(_ tokens: Tensor, cache: KeyValueCache) throws -> Tensor {
        let logits = try forward(tokens, cache: cache, keepsHiddenStates: false, lastPositionOnly: true).logits
        cache.advance(by: tokens.shape[1])
        return try logits.reshaped([tokens.shape[0], configuration.vocabularySize])
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

    private func forward(
        _ tokens: Tensor, cache: KeyValueCache?, keepsHiddenStates: Bool, lastPositionOnly: Bool
    ) throws -> Output {
        let length = tokens.shape[1]
        let start = cache?.length ?? 0
        let rotary = try rotary.slice(from: start, length: length)
        let mask = try start > 0 && length > 1 ? causalMask(length: length, after: start) : nil

        var x = try embedding.embedding(tokens)  // [B, T, C]
        var hiddenStates: [Tensor] = []
        for block in blocks {
            if keepsHiddenStates { hiddenStates.append(x) }
            x = try block(x, rotary: rotary, mask: mask, cache: cache)
        }
        if lastPositionOnly { x = try x.narrowed(1, from: length - 1, length: 1) }
        let logits = try x.rmsNorm(finalNorm, epsilon: configuration.normEpsilon).linear(head)
        return Output(logits: logits, hiddenStates: hiddenStates)
    }

    /// Additive mask [T, start + T] of tokens that follow `start` others: 0 where position i may see j, else −∞.
    private func causalMask(length: Int, after start: Int) throws -> Tensor {
        var mask = [Float](repeating: 0, count: length * (start + length))
        for row in 0..<length {
            for column in (start + row + 1)..<max(start + row + 1, start + length) {
                mask[row * (start + length) + column] = -.infinity
            }
        }
        return try Tensor(mask, shape: [length, start + length])
    }
}

/// x + Attention(RMSNorm(x)), then x + MLP(RMSNorm(x)).
private struct LlamaBlock: Sendable {
    let layer: Int
    let configuration: ModelConfiguration
    let inputNorm: Tensor
    let query: LinearLayer
    let key: LinearLayer
    let value: LinearLayer
    let output: LinearLayer
    let postAttentionNorm: Tensor
    let gate: LinearLayer
    let up: LinearLayer
    let down: LinearLayer

    func callAsFunction(_ x: Tensor, rotary: RotaryTable, mask: Tensor?, cache: KeyValueCache?) throws -> Tensor {
        let attended = try x.rmsNorm(inputNorm, epsilon: configuration.normEpsilon)
        let x = try x + attention(attended, rotary: rotary, mask: mask, cache: cache)
        let normed = try x.rmsNorm(postAttentionNorm, epsilon: configuration.normEpsilon)
        return try x + down(.swiGLU(gate: gate(normed), up: up(normed)))
    }

    private func attention(_ x: Tensor, rotary: RotaryTable, mask: Tensor?, cache: KeyValueCache?) throws -> Tensor {
        let shape = x.shape
        let (batch, length, size) = (shape[0], shape[1], configuration.headSize)
        func heads(_ projected: Tensor, _ count: Int) throws -> Tensor {  // [B, T, count, D]
            try projected.reshaped([batch, length, count, size])
        }
        let q = try heads(query(x), configuration.attentionHeadCount)
            .rotary(cosines: rotary.cosines, sines: rotary.sines).transposed(1, 2)  // [B, H, T, D]
        var k = try heads(key(x), configuration.keyValueHeadCount)
            .rotary(cosines: rotary.cosines, sines: rotary.sines).transposed(1, 2)  // [B, K, T, D]
        var v = try heads(value(x), configuration.keyValueHeadCount).transposed(1, 2)
        if let cache { (k, v) = try cache.append(layer: layer, keys: k, values: v) }
        let queriesPerKey = configuration.attentionHeadCount / configuration.keyValueHeadCount
        if queriesPerKey > 1 {
            k = try k.repeatingEach(queriesPerKey, along: 1)
            v = try v.repeatingEach(queriesPerKey, along: 1)
        }
        let causal = mask == nil && length > 1
        let context = try Tensor.attention(q, k, v, mask: mask, causal: causal)  // [B, H, T, D]
        return try output(
            context.transposed(1, 2).reshaped([batch, length, configuration.attentionHeadCount * size]))
    }
}
