import ModelDescription
import Torch

/// How OneBit layers compute.
public struct OneBitSettings: Sendable, Hashable {
    /// ε of the LayerNorm behind each layer; nil leaves the LayerNorm out.
    public var layerNormEpsilon: Float?
    /// How the products with the signs are computed.
    public var products: SignProducts

    public init(layerNormEpsilon: Float?, products: SignProducts = .fastest) {
        self.layerNormEpsilon = layerNormEpsilon
        self.products = products
    }
}

/// A linear layer of a block: the teacher's dense matrix, or the student's signs between two value vectors.
enum LinearLayer: Sendable {
    /// x Wᵀ + b.
    case dense(weight: Tensor, bias: Tensor?)
    /// Y = ((X ⊙ g) sign(W)ᵀ) ⊙ h, Z = LayerNorm(Y) (paper eq. 3), Z + b. Checkpoint keys: W [out, in] `….weight`,
    /// g [in] `….input_factor`, h [out] `….weight_scale`, b [out] `….bias`. `product` takes P = dYᵀ X where W is trained.
    case oneBit(
        signs: SignMatrix, product: Tensor?, inputScale: Tensor, outputScale: Tensor, bias: Tensor?,
        settings: OneBitSettings)

    /// [B, T, in] to [B, T, out].
    func callAsFunction(_ x: Tensor) throws -> Tensor {
        switch self {
        case .dense(let weight, let bias): return try x.linear(weight, bias: bias)
        case .oneBit(let signs, let product, let inputScale, let outputScale, let bias, let settings):
            let z = try x.signLinear(
                signs, inputScale: inputScale, outputScale: outputScale, product: product,
                layerNormEpsilon: settings.layerNormEpsilon, products: settings.products)
            return try bias.map { try z + $0.converted(to: z.dtype) } ?? z
        }
    }
}

/// A norm with weights over the last dimension: RMSNorm without a bias, LayerNorm with one.
struct Norm: Sendable {
    let weight: Tensor
    let bias: Tensor?
    let epsilon: Float

    func callAsFunction(_ x: Tensor) throws -> Tensor {
        guard let bias else { return try x.rmsNorm(weight, epsilon: epsilon) }
        return try x.layerNorm(weight, bias: bias, epsilon: epsilon)
    }
}

/// Grouped-query attention: queries and keys of each head are normalized where the family does so, and rotated by their
/// positions where these are rotary.
struct Attention: Sendable {
    let layer: Int
    let headCount: Int
    let keyValueHeadCount: Int
    let headSize: Int
    let slidingWindow: Int?
    var query: LinearLayer
    var key: LinearLayer
    var value: LinearLayer
    var output: LinearLayer
    let queryNorm: Norm?
    let keyNorm: Norm?

    /// Receives queries [B, H, T, D] and keys [B, K, T, D] as they meet.
    typealias Observer = (_ queries: Tensor, _ keys: Tensor) -> Void

    func callAsFunction(_ x: Tensor, at positions: TokenPositions, observe: Observer? = nil) throws -> Tensor {
        try output(context(of: x, at: positions, observe: observe))
    }

    /// What the output layer reads: the values that each head sees, weighted, [B, T, H·D].
    func context(of x: Tensor, at positions: TokenPositions, observe: Observer? = nil) throws -> Tensor {
        let shape = x.shape
        func heads(_ projected: Tensor, _ count: Int) throws -> Tensor {  // [B, T, count, D]
            try projected.reshaped([shape[0], shape[1], count, headSize])
        }
        func normed(_ heads: Tensor, _ norm: Norm?) throws -> Tensor { try norm.map { try $0(heads) } ?? heads }
        func rotated(_ heads: Tensor) throws -> Tensor {
            guard let rotary = positions.rotary else { return heads }
            return try heads.rotary(cosines: rotary.cosines, sines: rotary.sines)
        }
        let q = try rotated(normed(heads(query(x), headCount), queryNorm)).transposed(1, 2)  // [B, H, T, D]
        let k = try rotated(normed(heads(key(x), keyValueHeadCount), keyNorm)).transposed(1, 2)  // [B, K, T, D]
        let v = try heads(value(x), keyValueHeadCount).transposed(1, 2)
        observe?(q, k)
        let context: Tensor
        switch positions.attention {
        case .sequences(let masks):
            context = try attend(q, k, v, slidingWindow == nil ? masks.full : masks.windowed)
        case .cached(let scope):
            var parts = try scope.singles.map { [try attend(q, k, v, singles: $0, in: scope.pool)] } ?? []
            parts += try scope.slices.map { try attend(q, k, v, slice: $0, masks: $1, in: scope.pool) }
            let joined = try Tensor.concatenated(parts, along: 2)
            context = try scope.order.map { try joined.selecting($0, along: 2) } ?? joined
        }
        return try context.transposed(1, 2).reshaped([shape[0], shape[1], headCount * headSize])
    }

    /// Rows that are the only new token of their sequences: [1, H, rows, D].
    private func attend(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, singles: SingleTokenRows, in pool: KeyValuePool
    ) throws -> Tensor {
        func rows(_ heads: Tensor) throws -> Tensor {  // [rows, heads, D]
            let selected = try singles.indices.map { try heads.selecting($0, along: 2) } ?? heads
            return try selected.transposed(1, 2).reshaped([singles.order.count, heads.shape[1], headSize])
        }
        let (keys, values) = try pool.append(layer: layer, rows: singles, keys: rows(k), values: rows(v))
        // The query heads of a group are to their key/value head what several tokens would be.
        let grouped = try rows(q).reshaped(
            [singles.order.count, keyValueHeadCount, headCount / keyValueHeadCount, headSize])
        guard case .matrix(let mask) = slidingWindow == nil ? singles.masks.full : singles.masks.windowed else {
            preconditionFailure("the masks of single tokens are matrices")
        }
        return try Tensor.attention(grouped, keys, values, mask: mask, causal: false)
            .reshaped([1, singles.order.count, headCount, headSize]).transposed(1, 2)
    }

    /// The rows of one slice of a batch, over all keys and values of its sequence: [B, H, rows, D].
    private func attend(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, slice: DecodingSlice, masks: AttentionMasks, in pool: KeyValuePool
    ) throws -> Tensor {
        let (start, count) = (slice.rows.lowerBound, slice.rows.count)
        let queries = try q.narrowed(2, from: start, length: count)
        var (keys, values) = try pool.append(
            layer: layer, slice: slice, keys: k.narrowed(2, from: start, length: count),
            values: v.narrowed(2, from: start, length: count))
        guard count == 1 else {
            return try attend(queries, keys, values, slidingWindow == nil ? masks.full : masks.windowed)
        }
        // One token sees everything in its window, so no mask is needed; and the query heads of a group are then to its
        // key/value head what several tokens would be, so that keys and values need not be repeated.
        let seen = slice.position + 1
        if let slidingWindow, slidingWindow < seen {
            keys = try keys.narrowed(2, from: seen - slidingWindow, length: slidingWindow)
            values = try values.narrowed(2, from: seen - slidingWindow, length: slidingWindow)
        }
        let batch = queries.shape[0]
        let grouped = try queries.reshaped([batch, keyValueHeadCount, headCount / keyValueHeadCount, headSize])
        return try Tensor.attention(grouped, keys, values, mask: nil, causal: false)
            .reshaped([batch, headCount, 1, headSize])
    }

    private func attend(_ q: Tensor, _ k: Tensor, _ v: Tensor, _ mask: AttentionMask) throws -> Tensor {
        switch mask {
        case .causal: try .attention(q, k, v, mask: nil, causal: true)
        case .matrix(let mask): try .attention(q, k, v, mask: mask, causal: false)
        }
    }
}

/// (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ, or relu(x Wuᵀ) Wdᵀ where there is no gate.
struct MLP: Sendable {
    var gate: LinearLayer?
    var up: LinearLayer
    var down: LinearLayer

    func callAsFunction(_ x: Tensor) throws -> Tensor { try down(activation(of: x)) }

    /// What the last layer reads.
    func activation(of x: Tensor) throws -> Tensor {
        if let gate { return try .swiGLU(gate: gate(x), up: up(x)) }
        return try up(x).relu()
    }
}

/// One transformer block, its norms before the sublayers or behind them:
///
///     x ← x + Attention(norm(x))          x ← norm(x + Attention(x))
///     x ← x + MLP(norm(x))                x ← norm(x + MLP(x))
struct TransformerBlock: Sendable {
    let attentionNorm: Norm
    var attention: Attention
    let mlpNorm: Norm
    var mlp: MLP
    let normPlacement: DecoderStructure.NormPlacement
    /// Places of its parameters among the model's; none for a block by itself.
    var parameters = 0..<0

    func callAsFunction(
        _ x: Tensor, at positions: TokenPositions, observe: Attention.Observer? = nil
    ) throws -> Tensor {
        let x = try sum(x, attention(input(x, attentionNorm), at: positions, observe: observe), attentionNorm)
        return try sum(x, mlp(input(x, mlpNorm)), mlpNorm)
    }

    /// What a sublayer reads of the residual stream.
    func input(_ x: Tensor, _ norm: Norm) throws -> Tensor {
        switch normPlacement {
        case .beforeSublayers: try norm(x)
        case .afterSublayers: x
        }
    }

    /// The residual stream with what a sublayer gave.
    func sum(_ x: Tensor, _ sublayer: Tensor, _ norm: Norm) throws -> Tensor {
        switch normPlacement {
        case .beforeSublayers: try x + sublayer
        case .afterSublayers: try norm(x + sublayer)
        }
    }
}

extension TransformerBlock {
    /// A block of its parts, which are asked for in checkpoint order.
    init(
        _ block: BlockDescription, of configuration: ModelConfiguration, norm: (NormDescription) throws -> Norm,
        linear: (LinearDescription) throws -> LinearLayer
    ) throws {
        attentionNorm = try norm(block.attentionNorm)
        attention = Attention(
            layer: block.layer, headCount: configuration.attentionHeadCount,
            keyValueHeadCount: configuration.keyValueHeadCount, headSize: configuration.headSize,
            slidingWindow: block.slidingWindow, query: try linear(block.query), key: try linear(block.key),
            value: try linear(block.value), output: try linear(block.output),
            queryNorm: try block.queryNorm.map(norm), keyNorm: try block.keyNorm.map(norm))
        mlpNorm = try norm(block.mlpNorm)
        mlp = MLP(gate: try block.gate.map(linear), up: try linear(block.up), down: try linear(block.down))
        normPlacement = configuration.structure.normPlacement
    }
}
