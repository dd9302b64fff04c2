import ModelDescription

/// One transformer block, its norms before the sublayers or behind them:
///
///     x ← x + Attention(norm(x))          x ← norm(x + Attention(x))
///     x ← x + MLP(norm(x))                x ← norm(x + MLP(x))
struct TransformerBlock: Sendable {
    let attentionNorm: Norm
    let attention: Attention
    let mlpNorm: Norm
    let mlp: MLP
    let normPlacement: DecoderStructure.NormPlacement

    func callAsFunction(_ x: Tensor, places: TokenPlaces, cache: KeyValueCache?) throws -> Tensor {
        let x = try add(norm: attentionNorm, to: x) { try attention($0, places: places, cache: cache) }
        return try add(norm: mlpNorm, to: x) { try mlp($0) }
    }

    private func add(norm: Norm, to x: Tensor, _ sublayer: (Tensor) throws -> Tensor) throws -> Tensor {
        switch normPlacement {
        case .beforeSublayers: try x + sublayer(norm(x))
        case .afterSublayers: try norm(x + sublayer(x))
        }
    }
}

/// (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ, or relu(x Wuᵀ) Wdᵀ where there is no gate.
struct MLP: Sendable {
    let gate: LinearLayer?
    let up: LinearLayer
    let down: LinearLayer

    func callAsFunction(_ x: Tensor) throws -> Tensor {
        if let gate { return try down(.swiGLU(gate: gate(x), up: up(x))) }
        return try down(up(x).relu())
    }
}

/// Grouped-query attention: each head's queries and keys normalised where the family has it, turned by their positions
/// where these are rotary.
struct Attention: Sendable {
    let block: BlockDescription
    let configuration: ModelConfiguration
    let query: LinearLayer
    let key: LinearLayer
    let value: LinearLayer
    let output: LinearLayer
    let queryNorm: Norm?
    let keyNorm: Norm?

    func callAsFunction(_ x: Tensor, places: TokenPlaces, cache: KeyValueCache?) throws -> Tensor {
        let shape = x.shape
        let (batch, length, size) = (shape[0], shape[1], configuration.headSize)
        func heads(_ projected: Tensor, _ count: Int, norm: Norm? = nil) throws -> Tensor {  // [B, T, count, D]
            let split = try projected.reshaped([batch, length, count, size])
            return try norm.map { try $0(split) } ?? split
        }
        func turned(_ heads: Tensor) throws -> Tensor {
            guard let rotary = places.rotary else { return heads }
            return try heads.rotary(cosines: rotary.cosines, sines: rotary.sines)
        }
        let q = try turned(heads(query(x), configuration.attentionHeadCount, norm: queryNorm))
            .transposed(1, 2)  // [B, H, T, D]
        var k = try turned(heads(key(x), configuration.keyValueHeadCount, norm: keyNorm))
            .transposed(1, 2)  // [B, K, T, D]
        var v = try heads(value(x), configuration.keyValueHeadCount).transposed(1, 2)
        if let cache { (k, v) = try cache.append(layer: block.layer, keys: k, values: v) }
        let queriesPerKey = configuration.attentionHeadCount / configuration.keyValueHeadCount
        if queriesPerKey > 1 {
            k = try k.repeatingEach(queriesPerKey, along: 1)
            v = try v.repeatingEach(queriesPerKey, along: 1)
        }
        let context: Tensor
        switch block.slidingWindow == nil ? places.mask : places.windowMask {
        case .causal: context = try Tensor.attention(q, k, v, mask: nil, causal: length > 1)
        case .matrix(let mask): context = try Tensor.attention(q, k, v, mask: mask, causal: false)
        }
        return try output(
            context.transposed(1, 2).reshaped([batch, length, configuration.attentionHeadCount * size]))
    }
}
