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
                epsilon: configuration.normEpsilon, countsFromOne: norm.countsFromOne)
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
        x = try x.multiplied(by: configuration.structure.embeddingMultiplier)
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
        let normed = try (finalNorm.map { try $0(x) } ?? x).multiplied(by: configuration.structure.logitMultiplier)
        return try outputProjection.map { try normed.linear($0) } ?? normed
    }

    /// [.., V] of what the output head reads.
    func logits(of headInput: Tensor) throws -> Tensor {
        let logits = try headInput.linear(head)
        return try configuration.structure.logitSoftCap.map { try logits.softCapped(at: Double($0)) } ?? logits
    }

    // MARK: Positions

    /// Whole sequences of `length` tokens.
    func positions(length: Int) throws -> TokenPositions {
        TokenPositions(
            rotations: try positionTables.rotations.map {
                try $0.rows(from: 0, length: length, sequenceLength: length)
            },
            learned: try positionEmbedding?.narrowed(0, from: positionTables.learnedOffset, length: length),
            attention: .sequences(try positionTables.masks(length: length, after: 0)))
    }

    /// Tokens that stand at any positions [B, T] and see what masks say.
    func positions(_ positions: [Int], batch: Int, masks: AttentionMasks) throws -> TokenPositions {
        TokenPositions(
            rotations: try positionTables.rotations.map { try $0.rows(of: positions, batch: batch) },
            learned: try learned(at: positions, batch: batch),
            attention: .sequences(masks))
    }

    /// The next tokens of sequences whose keys and values are cached.
    func positions(of slices: [DecodingSlice], in pool: KeyValuePool) throws -> TokenPositions {
        try pool.reserve(slices.map { $0.position + $0.rows.count }.max() ?? 0)
        let all = slices.flatMap { $0.position..<$0.position + $0.rows.count }
        let rotations = try positionTables.rotations.map { table in
            // The same for all sequences, unless rotations depend on their lengths.
            if slices.count > 1, !configuration.structure.dependsOnLength {
                let rows = try table.rows(of: all, batch: 1)
                let shape = [all.count, table.pairCount]
                return RotaryTable.Rows(
                    cosines: try rows.cosines.reshaped(shape), sines: try rows.sines.reshaped(shape))
            }
            return try RotaryTable.Rows.concatenated(
                slices.map {
                    try table.rows(from: $0.position, length: $0.rows.count, sequenceLength: $0.sequenceLength)
                })
        }
        return TokenPositions(
            rotations: rotations, learned: try learned(at: all, batch: 1),
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

extension Tensor {
    /// The tensor itself where the factor is 1.
    func multiplied(by factor: Float) throws -> Tensor { factor == 1 ? self : try self * Double(factor) }
}
