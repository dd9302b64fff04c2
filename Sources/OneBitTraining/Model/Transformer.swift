import ModelDescription
import Torch

/// A decoder on libtorch, of any family that `ModelConfiguration` describes. Teacher and student are the same model with
/// different linear layers. An immutable value: a training step makes the next model (`with(_:)`).
///
/// Activations are of the compute type. Parameters may be stored in any float type: a layer converts those that it uses
/// when it is reached, so a teacher takes the memory of its file.
///
/// Shapes: B sequences, T tokens, C hidden size, E embedding size, H query heads and K key/value heads of size D, V
/// vocabulary.
public final class Transformer: Sendable {
    public let configuration: ModelConfiguration
    /// Every tensor of the checkpoint, in checkpoint order.
    public let parameters: [Parameter]
    /// How the linear layers of a student compute; nil for a dense model.
    let oneBit: OneBitSettings?
    let blocks: [TransformerBlock]
    /// The output projection [V, E]; the embedding again where they are tied.
    let head: Tensor
    /// Whether the blocks' matrices stay in host memory and come to the device as a pass reaches them (``BlockStream``).
    let streamsBlocks: Bool

    private let embedding: Tensor  // [V, E]
    private let positionEmbedding: Tensor?  // [positions + offset, C]
    private let inputProjection: Tensor?  // [C, E]
    private let finalNorm: Norm?
    private let outputProjection: Tensor?  // [E, C]
    private let positionTables: PositionTables

    /// Gives a parameter's value by its checkpoint name, and where its gradient is wanted, the leaf that takes it.
    private typealias Source = (_ name: String, _ group: ParameterGroup) throws -> (ParameterValue, leaf: Tensor?)

    /// - Parameters:
    ///   - computeType: Type of the activations.
    ///   - device: Where activations are, and all parameters but those that are streamed.
    ///   - streamsBlocks: Whether the blocks' matrices are in host memory and stay there.
    ///   - values: Gives the parameters by their checkpoint names, in checkpoint order: the latent matrices as signs.
    convenience init(
        configuration: ModelConfiguration, oneBit: OneBitSettings? = nil, computeType: DType = .float32,
        device: Device = .cpu, streamsBlocks: Bool = false,
        values: (_ name: String, _ group: ParameterGroup) throws -> ParameterValue
    ) throws {
        try self.init(
            configuration: configuration, oneBit: oneBit,
            positionTables: PositionTables(configuration, dtype: computeType, device: device),
            streamsBlocks: streamsBlocks
        ) { (try values($0, $1), nil) }
    }

    private init(
        configuration: ModelConfiguration, oneBit: OneBitSettings?, positionTables: PositionTables,
        streamsBlocks: Bool = false, source: Source
    ) throws {
        var parameters: [Parameter] = []
        func parameter(_ name: String, _ group: ParameterGroup) throws -> (ParameterValue, leaf: Tensor?) {
            let (value, leaf) = try source(name, group)
            parameters.append(Parameter(name: name, value: value, group: group))
            return (value, leaf)
        }
        func tensor(_ name: String, _ group: ParameterGroup) throws -> Tensor {
            switch try parameter(name, group) {
            case (.tensor(let tensor), let leaf): return leaf ?? tensor
            case (.signs(let signs), _): return try signs.unpacked()
            }
        }
        func linear(_ linear: LinearDescription) throws -> LinearLayer {
            guard let oneBit else {
                return .dense(
                    weight: try tensor(linear.weightName, .dense),
                    bias: try linear.bias.map { try tensor($0.name, .norm) })
            }
            let (weight, product) = try parameter(linear.weightName, .latent)
            return .oneBit(
                signs: try weight.signs, product: product, inputScale: try tensor(linear.inputScaleName, .scales),
                outputScale: try tensor(linear.outputScaleName, .scales),
                bias: try linear.bias.map { try tensor($0.name, .norm) }, settings: oneBit)
        }
        func norm(_ norm: NormDescription) throws -> Norm {
            Norm(
                weight: try tensor(norm.weight.name, .norm), bias: try norm.bias.map { try tensor($0.name, .norm) },
                epsilon: configuration.normEpsilon)
        }

        embedding = try tensor(configuration.embedding.name, .embedding)
        positionEmbedding = try configuration.positionEmbedding.map { try tensor($0.name, .embedding) }
        inputProjection = try configuration.inputProjection.map { try tensor($0.name, .embedding) }
        blocks = try (0..<configuration.layerCount).map { layer in
            let first = parameters.count
            var block = try TransformerBlock(
                configuration.block(layer), of: configuration, norm: norm, linear: linear)
            block.parameters = first..<parameters.count
            return block
        }
        finalNorm = try configuration.finalNorm.map(norm)
        outputProjection = try configuration.outputProjection.map { try tensor($0.name, .embedding) }
        head = configuration.tiedEmbeddings ? embedding : try tensor(configuration.head.name, .embedding)
        self.configuration = configuration
        self.oneBit = oneBit
        self.parameters = parameters
        self.positionTables = positionTables
        self.streamsBlocks = streamsBlocks
    }

    /// Numbers in all parameters.
    public var parameterCount: Int { parameters.reduce(0) { $0 + $1.elementCount } }

    /// Place of the output projection among the parameters: the embedding's where they are tied.
    var headParameter: Int { configuration.tiedEmbeddings ? 0 : parameters.count - 1 }

    /// Places of the parameters that belong to no block.
    var outerParameters: [Int] {
        guard let first = blocks.first?.parameters.lowerBound, let last = blocks.last?.parameters.upperBound else {
            return Array(parameters.indices)
        }
        return Array(0..<first) + Array(last..<parameters.count)
    }

    var device: Device { positionTables.device }

    /// Type of the activations.
    var computeType: DType { positionTables.dtype }

    /// Type of P = dYᵀ X on its way to the sum over micro-batches. A device's products leave it in 16 bits, which is half of
    /// what has to travel; their sums are float32 either way.
    var productType: DType { device == .cpu ? .float32 : computeType }

    /// The same model with other values.
    ///
    /// - Parameter values: One per parameter, in their order.
    func with(_ values: [ParameterValue]) throws -> Transformer {
        precondition(values.count == parameters.count, "\(values.count) values for \(parameters.count) parameters")
        var index = 0
        return try Transformer(
            configuration: configuration, oneBit: oneBit, positionTables: positionTables, streamsBlocks: streamsBlocks
        ) { _, _ in
            defer { index += 1 }
            return (values[index], nil)
        }
    }

    /// The same model with leaves of the backward pass.
    ///
    /// - Parameter trained: Places of the parameters whose gradients are wanted.
    /// - Returns: The model, and by parameter its leaf: of a sign matrix, one whose gradient is P = dYᵀ X.
    func recordingGradients(of trained: Set<Int>) throws -> (model: Transformer, leaves: [Tensor?]) {
        var leaves: [Tensor?] = []
        let model = try Transformer(
            configuration: configuration, oneBit: oneBit, positionTables: positionTables, streamsBlocks: streamsBlocks
        ) { [parameters, productType] _, _ in
            let value = parameters[leaves.count].value
            let leaf = trained.contains(leaves.count) ? try value.leaf(productType: productType) : nil
            leaves.append(leaf)
            return (value, leaf)
        }
        return (model, leaves)
    }

    /// What a pass through the model gives.
    public struct Output: Sendable {
        /// [B, T, V].
        public let logits: Tensor
        /// The states [B, T, C] that enter each block, the embedding output first; empty unless asked for.
        public let hiddenStates: [Tensor]
    }

    /// - Parameters:
    ///   - tokens: [B, T] ids.
    ///   - hiddenStates: Whether to keep the states that enter each block.
    /// - Throws: `CancellationError` between two blocks once the task is cancelled, `TorchError`.
    public func callAsFunction(_ tokens: Tensor, hiddenStates: Bool = false) throws -> Output {
        var states: [Tensor] = []
        let x = try residual(tokens, at: positions(length: tokens.shape[1])) { if hiddenStates { states.append($0) } }
        return Output(logits: try logits(of: headInput(x)), hiddenStates: states)
    }

    // MARK: The parts of a pass

    /// What enters the first block [B, T, C].
    func embedded(_ tokens: Tensor, at positions: TokenPositions) throws -> Tensor {
        var x = try embedding.embedding(tokens).converted(to: computeType)  // [B, T, E]
        if let inputProjection { x = try x.linear(inputProjection) }
        if let learned = positions.learned { x = try x + learned.converted(to: computeType) }
        return x
    }

    /// The residual stream [B, T, C] behind the last block.
    ///
    /// - Parameter observe: Receives what enters each block.
    func residual(
        _ tokens: Tensor, at positions: TokenPositions, observe: (Tensor) -> Void = { _ in }
    ) throws -> Tensor {
        var x = try embedded(tokens, at: positions)
        let stream = try BlockStream(self)
        for _ in blocks {
            try checkCancellation()
            observe(x)
            x = try stream.next(x, at: positions)
        }
        return x
    }

    /// What the output head reads of rows [.., C] of the residual stream: normalized, and [.., E] wide.
    func headInput(_ x: Tensor) throws -> Tensor {
        let normed = try finalNorm.map { try $0(x) } ?? x
        return try outputProjection.map { try normed.linear($0) } ?? normed
    }

    /// [.., V] of what the output head reads.
    func logits(of headInput: Tensor) throws -> Tensor { try headInput.linear(head) }

    // MARK: Positions

    /// Whole sequences of `length` tokens.
    func positions(length: Int) throws -> TokenPositions {
        TokenPositions(
            rotary: try positionTables.rotary?.rows(from: 0, length: length, sequenceLength: length),
            learned: try positionEmbedding?.narrowed(0, from: positionTables.learnedOffset, length: length),
            attention: .sequences(try positionTables.masks(length: length, after: 0)))
    }

    /// Tokens that stand at any positions [B, T] and see what masks say.
    func positions(_ positions: [Int], batch: Int, masks: AttentionMasks) throws -> TokenPositions {
        TokenPositions(
            rotary: try positionTables.rotary?.rows(of: positions, batch: batch),
            learned: try learned(at: positions, batch: batch),
            attention: .sequences(masks))
    }

    /// The next tokens of sequences whose keys and values are cached.
    func positions(of slices: [DecodingSlice], in pool: KeyValuePool) throws -> TokenPositions {
        try pool.reserve(slices.map { $0.position + $0.rows.count }.max() ?? 0)
        let all = slices.flatMap { $0.position..<$0.position + $0.rows.count }
        let rotary = try positionTables.rotary.map { table in
            // The same for all sequences, unless rotations depend on their lengths.
            if slices.count > 1, !configuration.structure.dependsOnLength {
                let rows = try table.rows(of: all, batch: 1)
                return RotaryTable.Rows(
                    cosines: try rows.cosines.reshaped([all.count, configuration.headSize / 2]),
                    sines: try rows.sines.reshaped([all.count, configuration.headSize / 2]))
            }
            return try RotaryTable.Rows.concatenated(
                slices.map {
                    try table.rows(from: $0.position, length: $0.rows.count, sequenceLength: $0.sequenceLength)
                })
        }
        return TokenPositions(
            rotary: rotary, learned: try learned(at: all, batch: 1),
            attention: .cached(try cachedScope(of: slices, in: pool)))
    }

    private func cachedScope(of slices: [DecodingSlice], in pool: KeyValuePool) throws -> CachedScope {
        func integers(_ values: [Int]) throws -> Tensor {
            try .integers(values, shape: [values.count], device: device)
        }
        let single = slices.filter { $0.rows.count == 1 }.sorted { $0.slot < $1.slot }
        let others = single.count > 1 ? slices.filter { $0.rows.count > 1 } : slices
        var singles: SingleTokenRows?
        if single.count > 1 {
            let rows = single.map(\.rows.lowerBound)
            let positions = try integers(single.map(\.position))
            let count = (single.map(\.position).max() ?? 0) + 1
            let first = single[0].slot
            singles = SingleTokenRows(
                order: rows, indices: others.isEmpty && rows == Array(rows.indices) ? nil : try integers(rows),
                slots: try integers(single.map(\.slot)), positions: positions,
                firstSlot: single[single.count - 1].slot - first + 1 == single.count ? first : nil, count: count,
                masks: try positionTables.masks(last: positions, count: count))
        }
        let rows = (singles?.order ?? []) + others.flatMap(\.rows)
        var places = rows
        for (place, row) in rows.enumerated() { places[row] = place }
        return CachedScope(
            pool: pool,
            slices: try others.map { ($0, try positionTables.masks(length: $0.rows.count, after: $0.position)) },
            singles: singles, order: rows == Array(rows.indices) ? nil : try integers(places))
    }

    private func learned(at positions: [Int], batch: Int) throws -> Tensor? {
        guard let positionEmbedding else { return nil }
        let rows = positions.map { $0 + positionTables.learnedOffset }
        return try positionEmbedding.selecting(.integers(rows, shape: [rows.count], device: device), along: 0)
            .reshaped([batch, rows.count / batch, configuration.hiddenSize])
    }
}

// MARK: Parameters

/// What a parameter is for; configurations choose by it what is trained and how fast.
public enum ParameterGroup: String, Sendable, Codable, CaseIterable, CodingKeyRepresentable {
    /// Matrix of a dense linear layer.
    case dense
    /// The float matrix W whose signs a OneBit layer uses.
    case latent
    /// The value vectors g and h of a OneBit layer.
    case scales
    /// Embeddings, output head, and the projections between them and the residual stream.
    case embedding
    /// Weights of the norms, and biases.
    case norm
}

/// What passes compute with in place of a parameter.
public enum ParameterValue: Sendable {
    case tensor(Tensor)
    /// Of a latent matrix: all that a pass needs of it.
    case signs(SignMatrix)

    var shape: [Int] {
        switch self {
        case .tensor(let tensor): tensor.shape
        case .signs(let signs): [signs.rows, signs.columns]
        }
    }

    /// The signs of a matrix.
    var signs: SignMatrix {
        get throws {
            switch self {
            case .tensor(let tensor): try SignMatrix(signsOf: tensor)
            case .signs(let signs): signs
            }
        }
    }

    /// As float32: of signs, ±1.
    func numbers() throws -> Tensor {
        switch self {
        case .tensor(let tensor): try tensor.converted(to: .float32)
        case .signs(let signs): try signs.unpacked()
        }
    }

    /// A leaf of the backward pass: of signs, one whose gradient is P = dYᵀ X.
    fileprivate func leaf(productType: DType) throws -> Tensor {
        switch self {
        case .tensor(let tensor): try tensor.requiringGradient()
        case .signs(let signs):
            try .gradientCarrier(shape: [signs.rows, signs.columns], dtype: productType, device: signs.bits.device)
        }
    }
}

/// A parameter of a model under its checkpoint name.
public struct Parameter: Sendable {
    public let name: String
    public let shape: [Int]
    public let value: ParameterValue
    public let group: ParameterGroup

    init(name: String, value: ParameterValue, group: ParameterGroup) {
        self.name = name
        shape = value.shape
        self.value = value
        self.group = group
    }

    var elementCount: Int { shape.reduce(1, *) }

    /// Weight decay shrinks matrices only: norm weights, biases and the value vectors g and h set scales, and a pull
    /// toward zero is not a prior for these (the practice of GPT-2, LLaMA and their PyTorch implementations).
    var isDecayed: Bool { shape.count > 1 }
}

// MARK: Layers

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
        let group = headCount / keyValueHeadCount
        let keys = group > 1 ? try k.repeatingEach(group, along: 1) : k
        let values = group > 1 ? try v.repeatingEach(group, along: 1) : v
        switch mask {
        case .causal: return try .attention(q, keys, values, mask: nil, causal: true)
        case .matrix(let mask): return try .attention(q, keys, values, mask: mask, causal: false)
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
