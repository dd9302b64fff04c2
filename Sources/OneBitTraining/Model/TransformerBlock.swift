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
    /// Whether the weights are what is added to 1.
    let countsFromOne: Bool

    func callAsFunction(_ x: Tensor) throws -> Tensor {
        guard let bias else {
            guard countsFromOne else { return try x.rmsNorm(weight, epsilon: epsilon) }
            let ones = try Tensor.full(1, shape: weight.shape, dtype: weight.dtype, device: weight.device)
            return try x.rmsNorm(weight + ones, epsilon: epsilon)
        }
        return try x.layerNorm(weight, bias: bias, epsilon: epsilon)
    }
}

/// Grouped-query attention: queries and keys are normalized where the family does so, each head or all of them together, and
/// rotated by their positions where the layer does so.
struct Attention: Sendable {
    let layer: Int
    let headCount: Int
    let keyValueHeadCount: Int
    let headSize: Int
    let slidingWindow: Int?
    /// Which of the model's rotations the layer has.
    let rotation: Int?
    /// Factor of the scores; nil for 1/√D.
    let scale: Float?
    /// What caps them; nil for nothing.
    let softCap: Double?
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
        /// Heads of queries or keys, normalized and rotated.
        func placed(_ projected: Tensor, _ count: Int, _ norm: Norm?) throws -> Tensor {
            guard let norm else { return try rotated(heads(projected, count), at: positions) }
            guard norm.weight.shape[0] == headSize else {
                return try rotated(heads(norm(projected), count), at: positions)
            }
            return try rotated(norm(heads(projected, count)), at: positions)
        }
        var q = try placed(query(x), headCount, queryNorm).transposed(1, 2)  // [B, H, T, D]
        let k = try placed(key(x), keyValueHeadCount, keyNorm).transposed(1, 2)  // [B, K, T, D]
        // Scores are computed with 1/√D.
        if let scale { q = try q * (Double(scale) * Double(headSize).squareRoot()) }
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

    /// [B, T, heads, D], of whose channels the first are rotated, as many as the tables have.
    private func rotated(_ heads: Tensor, at positions: TokenPositions) throws -> Tensor {
        guard let rotation, let pairs = positions.rotations[rotation].cosines.shape.last else { return heads }
        let rotary = positions.rotations[rotation]
        guard 2 * pairs < headSize else { return try heads.rotary(cosines: rotary.cosines, sines: rotary.sines) }
        let first = try heads.narrowed(3, from: 0, length: 2 * pairs)
        let others = try heads.narrowed(3, from: 2 * pairs, length: headSize - 2 * pairs)
        return try .concatenated([first.rotary(cosines: rotary.cosines, sines: rotary.sines), others], along: 3)
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
        return try Tensor.attention(grouped, keys, values, mask: mask, causal: false, softCap: softCap)
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
        return try Tensor.attention(grouped, keys, values, mask: nil, causal: false, softCap: softCap)
            .reshaped([batch, headCount, 1, headSize])
    }

    private func attend(_ q: Tensor, _ k: Tensor, _ v: Tensor, _ mask: AttentionMask) throws -> Tensor {
        switch mask {
        case .causal: try .attention(q, k, v, mask: nil, causal: true, softCap: softCap)
        case .matrix(let mask): try .attention(q, k, v, mask: mask, causal: false, softCap: softCap)
        }
    }
}

/// (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ, with gelu in place of silu in some families, or relu(x Wuᵀ) Wdᵀ where there is no gate.
struct MLP: Sendable {
    let kind: DecoderStructure.MLP
    var gate: LinearLayer?
    var up: LinearLayer
    var down: LinearLayer

    func callAsFunction(_ x: Tensor) throws -> Tensor { try down(activation(of: x)) }

    /// What the last layer reads.
    func activation(of x: Tensor) throws -> Tensor {
        guard let gate else { return try up(x).relu() }
        return kind == .gatedGELU ? try gate(x).gelu() * up(x) : try .swiGLU(gate: gate(x), up: up(x))
    }
}

/// The residual stream around a sublayer f, with a norm before it, behind it or on what it gives, and a factor m:
///
///     x + f(norm(x)) · m          norm(x + f(x) · m)          x + norm(f(x)) · m          x + norm′(f(norm(x))) · m
struct ResidualConnection: Sendable {
    let norm: Norm
    /// norm′
    let outputNorm: Norm?
    let placement: DecoderStructure.NormPlacement
    /// m
    let multiplier: Float

    init(_ norm: Norm, _ outputNorm: Norm?, in structure: DecoderStructure) {
        self.init(
            norm: norm, outputNorm: outputNorm, placement: structure.normPlacement,
            multiplier: structure.residualMultiplier)
    }

    private init(norm: Norm, outputNorm: Norm?, placement: DecoderStructure.NormPlacement, multiplier: Float) {
        self.norm = norm
        self.outputNorm = outputNorm
        self.placement = placement
        self.multiplier = multiplier
    }

    /// With other norms.
    func mapNorms(_ transform: (Norm) throws -> Norm) rethrows -> ResidualConnection {
        ResidualConnection(
            norm: try transform(norm), outputNorm: try outputNorm.map(transform), placement: placement,
            multiplier: multiplier)
    }

    /// What the sublayer reads of the residual stream.
    func input(_ x: Tensor) throws -> Tensor {
        switch placement {
        case .beforeSublayers, .aroundSublayers: try norm(x)
        case .afterSublayers, .onSublayerOutputs: x
        }
    }

    /// The residual stream with what the sublayer gave.
    func sum(_ x: Tensor, _ output: Tensor) throws -> Tensor {
        let normed = try (placement == .onSublayerOutputs ? norm : outputNorm).map { try $0(output) } ?? output
        let sum = try x + normed.multiplied(by: multiplier)
        return placement == .afterSublayers ? try norm(sum) : sum
    }

    /// What the sublayer must give more for the stream to have `difference` more; nil where a norm is between them.
    func correction(_ difference: Tensor) throws -> Tensor? {
        guard placement != .onSublayerOutputs, outputNorm == nil else { return nil }
        return try difference.multiplied(by: 1 / multiplier)
    }
}

/// One transformer block:
///
///     x ← x + Attention(norm(x))
///     x ← x + MLP(norm(x))
///
/// or with the norms elsewhere (``ResidualConnection``).
struct TransformerBlock: Sendable {
    let attentionResidual: ResidualConnection
    var attention: Attention
    let mlpResidual: ResidualConnection
    var mlp: MLP
    /// Places of its parameters among the model's; none for a block by itself.
    var parameters = 0..<0

    func callAsFunction(
        _ x: Tensor, at positions: TokenPositions, observe: Attention.Observer? = nil
    ) throws -> Tensor {
        let x = try attentionResidual.sum(
            x, attention(attentionResidual.input(x), at: positions, observe: observe))
        return try mlpResidual.sum(x, mlp(mlpResidual.input(x)))
    }
}

extension TransformerBlock {
    /// A block of its parts, which are asked for in checkpoint order.
    init(
        _ block: BlockDescription, of configuration: ModelConfiguration, norm: (NormDescription) throws -> Norm,
        linear: (LinearDescription) throws -> LinearLayer
    ) throws {
        attentionResidual = ResidualConnection(
            try norm(block.attentionNorm), try block.attentionOutputNorm.map(norm), in: configuration.structure)
        attention = Attention(
            layer: block.layer, headCount: configuration.attentionHeadCount,
            keyValueHeadCount: configuration.keyValueHeadCount, headSize: configuration.headSize,
            slidingWindow: block.slidingWindow, rotation: block.rotation,
            scale: configuration.structure.attentionScale,
            softCap: configuration.structure.attentionSoftCap.map(Double.init), query: try linear(block.query),
            key: try linear(block.key), value: try linear(block.value), output: try linear(block.output),
            queryNorm: try block.queryNorm.map(norm), keyNorm: try block.keyNorm.map(norm))
        mlpResidual = ResidualConnection(
            try norm(block.mlpNorm), try block.mlpOutputNorm.map(norm), in: configuration.structure)
        mlp = MLP(
            kind: configuration.structure.mlp, gate: try block.gate.map(linear), up: try linear(block.up),
            down: try linear(block.down))
    }
}
