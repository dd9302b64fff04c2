import CSignKernels
import ModelDescription

/// The decoder of a model on the CPU, top to bottom:
///
///     x = embedding[tokens];   x = block(x) for every block;   logits = head(x)
///
/// Every layer is called by all workers of a thread pool with the same ``ForwardPass``; the rows of its loops are shared
/// out among them. Layers are classes: to pass one on is then one reference count, and not one for each of its vectors, which
/// a small model would notice at every token.
struct CPUTransformer: Sendable {
    /// `model.embed_tokens`
    let embedding: TokenEmbedding
    /// None where positions are learned.
    let rotations: [RotaryEmbedding]
    /// `model.layers`
    let blocks: [DecoderBlock]
    /// `model.norm`, `lm_head`
    let head: OutputHead

    /// - Throws: `CheckpointError`, `TensorFileError`, ``RuntimeError``, `CancellationError`
    init(
        of checkpoint: Checkpoint, weights: LinearWeights, headPrecision: HeadPrecision, kernels: Kernels,
        pool: ThreadPool
    ) throws {
        let configuration = checkpoint.configuration
        embedding = try TokenEmbedding(of: checkpoint)
        rotations = try configuration.structure.rotations.enumerated().map {
            try RotaryEmbedding($1, number: $0, of: configuration)
        }
        blocks = try (0..<configuration.layerCount).map {
            try Task.checkCancellation()
            return try DecoderBlock(layer: $0, weights: weights, of: checkpoint)
        }
        head = try OutputHead(
            of: checkpoint, weights: weights, precision: headPrecision, kernels: kernels, pool: pool)
    }

    func callAsFunction(_ pass: ForwardPass) {
        let hidden = pass.activations.hidden.pointer
        embedding(into: hidden, pass)
        for rotation in rotations { rotation.prepare(pass) }
        for (layer, block) in blocks.enumerated() {
            pass.hiddenStates?.record(layer, hidden, pass)
            block(hidden, pass)
        }
        guard !pass.logitRows.isEmpty else { return }
        head(hidden, pass)
    }
}

/// A norm with weights:
///
///     y = x / √(mean(x²) + ε) ⊙ w                      RMSNorm; w is 1 + what is stored in some families
///     y = (x − mean x) / √(var x + ε) ⊙ w + b          LayerNorm
final class Norm: Sendable {
    private let weight: FloatVector
    /// LayerNorm's b; an RMSNorm has none.
    private let bias: FloatVector?
    private let epsilon: Float

    var width: Int { weight.count }

    init(_ description: NormDescription, of checkpoint: Checkpoint) throws {
        let stored = try checkpoint.floats(of: description.weight.name)
        weight = try FloatVector(description.countsFromOne ? stored.map { 1 + $0 } : stored)
        bias = try description.bias.map { try FloatVector($0.name, of: checkpoint) }
        epsilon = checkpoint.configuration.normEpsilon
    }

    /// x, y: [rows, width]; y may be x.
    func callAsFunction(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, _ pass: ForwardPass) {
        let width = weight.count
        pass.parallelFor(pass.rows) { range in
            for row in range { normalize(x + row * width, into: y + row * width, kernels: pass.kernels) }
        }
    }

    /// One row, on the calling thread; y may be x.
    func normalize(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, kernels: Kernels) {
        guard let bias else {
            _ = kernels.pointee.rms_norm(x, weight.pointer, weight.count, epsilon, y)
            return
        }
        _ = kernels.pointee.layer_norm(x, weight.count, epsilon, y)
        kernels.pointee.scale(y, weight.pointer, weight.count, y)
        kernels.pointee.add(bias.pointer, weight.count, y)
    }
}

/// Grouped-query attention over a key/value cache:
///
///     q, k, v = x Wqᵀ, x Wkᵀ, x Wvᵀ       q and k normalized where the family has it, each head or all together, then
///                                         rotated by their position where the layer does so
///     a_t = Σ_p softmax_p(q_t · k_p · s) v_p       per query head; several share a key/value head; s is 1/√d in most families,
///                                         and c tanh(… / c) of the scores is taken where the family caps them
///     y = a Woᵀ
///
/// p runs over all positions up to t, or over the last `slidingWindow` of them.
final class Attention: Sendable {
    private static let partPositions = Int(SIGN_KERNELS_ATTENTION_POSITIONS)

    /// `self_attn.q_proj`, `k_proj`, `v_proj`
    private let queryKeyValue: LinearGroup
    /// `self_attn.o_proj`
    private let output: LinearGroup
    /// `self_attn.q_norm`, `k_norm`
    private let queryNorm: Norm?
    private let keyNorm: Norm?
    /// Which of the model's rotations this layer has.
    private let rotation: Int
    /// Channels of a head that are rotated, its first ones.
    private let rotatedChannels: Int
    /// s
    private let scale: Float
    /// c; 0 for no cap
    private let cap: Float
    private let slidingWindow: Int
    private let layer: Int
    private let keyValueHeadCount: Int
    private let headSize: Int
    /// Query heads to a key/value head.
    private let groupSize: Int

    init(_ block: BlockDescription, weights: LinearWeights, of checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        queryKeyValue = try weights.group(block.linears[..<3], of: checkpoint)
        output = try weights.group(block.linears[3..<4], of: checkpoint)
        queryNorm = try block.queryNorm.map { try Norm($0, of: checkpoint) }
        keyNorm = try block.keyNorm.map { try Norm($0, of: checkpoint) }
        rotation = block.rotation ?? 0
        rotatedChannels =
            block.rotation.map {
                configuration.structure.rotations[$0].rotatedChannels(headSize: configuration.headSize)
            } ?? 0
        scale = configuration.structure.attentionScale ?? 1 / Float(configuration.headSize).squareRoot()
        cap = configuration.structure.attentionSoftCap ?? 0
        slidingWindow = block.slidingWindow ?? .max
        layer = block.layer
        keyValueHeadCount = configuration.keyValueHeadCount
        headSize = configuration.headSize
        groupSize = configuration.attentionHeadCount / configuration.keyValueHeadCount
    }

    /// x, y: [rows, hiddenSize]; keys and values of the rows enter their sequences' caches.
    func callAsFunction(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, _ pass: ForwardPass) {
        let activations = pass.activations
        queryKeyValue(x, pass) { index in
            switch index {
            case 0: activations.queries.pointer
            case 1: activations.keys.pointer
            default: activations.values.pointer
            }
        }
        pass.parallelFor(pass.slices.count) { range in
            for slice in pass.slices[range] { storeKeysAndValues(slice, pass) }
        }
        attend(pass)
        output(activations.attended.pointer, pass) { _ in y }
    }

    /// Normalizes and rotates queries and keys; keys and values go to the cache.
    private func storeKeysAndValues(_ slice: SequenceSlice, _ pass: ForwardPass) {
        let activations = pass.activations
        for index in 0..<slice.rowCount {
            let row = slice.firstRow + index
            let heads = keyValueHeadCount * groupSize
            let queries = activations.queries.pointer + row * heads * headSize
            normalizeAndRotate(queries, heads: heads, norm: queryNorm, row: row, pass)
            let keys = activations.keys.pointer + row * keyValueHeadCount * headSize
            normalizeAndRotate(keys, heads: keyValueHeadCount, norm: keyNorm, row: row, pass)
            let values = activations.values.pointer + row * keyValueHeadCount * headSize
            for head in 0..<keyValueHeadCount {
                slice.cache.store(
                    key: keys + head * headSize, value: values + head * headSize, layer: layer, head: head,
                    position: slice.position + index, kernels: pass.kernels)
            }
        }
    }

    /// - Parameter x: the heads of one token's queries or keys.
    private func normalizeAndRotate(
        _ x: UnsafeMutablePointer<Float>, heads: Int, norm: Norm?, row: Int, _ pass: ForwardPass
    ) {
        if let norm {
            // As wide as a head, or as all of them.
            for first in stride(from: 0, to: heads * headSize, by: norm.width) {
                norm.normalize(x + first, into: x + first, kernels: pass.kernels)
            }
        }
        guard rotatedChannels > 0 else { return }
        let (cosines, sines) = pass.activations.rotation(rotation, row: row, pairCount: rotatedChannels / 2)
        for head in 0..<heads {
            pass.kernels.pointee.rotate_half(x + head * headSize, rotatedChannels, cosines, sines)
        }
    }

    /// Attention is summed part by part of the positions, and the parts are merged in their order (flash-decoding, Dao et al.
    /// 2023). They begin at multiples of a fixed number, so who computes which of them changes no bit.
    private func attend(_ pass: ForwardPass) {
        let scratch = pass.activations.attentionScratch(worker: pass.worker.index)
        let units = pass.slices.count * keyValueHeadCount
        let partCount = pass.slices.reduce(0) { max($0, parts(of: 0..<1, $1).count) }
        guard let sums = pass.activations.attentionParts(units: units, parts: partCount, slices: pass.slices) else {
            pass.parallelFor(units) { range in
                for unit in range {
                    let (number, head) = unit.quotientAndRemainder(dividingBy: keyValueHeadCount)
                    attend(pass.slices[number], head: head, scratch, pass)
                }
            }
            return
        }
        let partSize = groupSize * (headSize + 2)
        pass.parallelFor(units * partCount) { range in
            for index in range {
                let (unit, part) = index.quotientAndRemainder(dividingBy: partCount)
                let (number, head) = unit.quotientAndRemainder(dividingBy: keyValueHeadCount)
                let parts = parts(of: 0..<1, pass.slices[number])
                guard part < parts.count else { continue }
                attend(
                    0..<1, of: pass.slices[number], head: head, part: parts.lowerBound + part, scratch,
                    into: sums + index * partSize, pass)
            }
        }
        pass.parallelFor(units) { range in
            for unit in range {
                let (number, head) = unit.quotientAndRemainder(dividingBy: keyValueHeadCount)
                let slice = pass.slices[number]
                scratch.clearSums(rows: groupSize)
                for part in 0..<parts(of: 0..<1, slice).count {
                    scratch.merge(sums + (unit * partCount + part) * partSize, rows: groupSize, kernels: pass.kernels)
                }
                finish(0..<1, of: slice, head: head, scratch, pass)
            }
        }
    }

    /// The queries of a slice that share a key/value head.
    private func attend(_ slice: SequenceSlice, head: Int, _ scratch: AttentionScratch, _ pass: ForwardPass) {
        // Tokens that see the whole sequence share the reading of it; the others' windows differ.
        let whole = min(slice.rowCount, max(0, slidingWindow - slice.position))
        if whole > 0 { attend(0..<whole, of: slice, head: head, scratch, pass) }
        for row in whole..<slice.rowCount { attend(row..<row + 1, of: slice, head: head, scratch, pass) }
    }

    private func attend(
        _ rows: Range<Int>, of slice: SequenceSlice, head: Int, _ scratch: AttentionScratch, _ pass: ForwardPass
    ) {
        let count = rows.count * groupSize
        scratch.clearSums(rows: count)
        for part in parts(of: rows, slice) {
            attend(rows, of: slice, head: head, part: part, scratch, into: scratch.part, pass)
            scratch.merge(scratch.part, rows: count, kernels: pass.kernels)
        }
        finish(rows, of: slice, head: head, scratch, pass)
    }

    /// Parts of the positions that some rows of a slice see: from the first position that the first of them sees.
    private func parts(of rows: Range<Int>, _ slice: SequenceSlice) -> Range<Int> {
        let last = slice.position + rows.upperBound - 1
        return start(rows.lowerBound, slice) / Self.partPositions..<last / Self.partPositions + 1
    }

    /// The first position that a row of a slice sees.
    private func start(_ row: Int, _ slice: SequenceSlice) -> Int {
        max(0, slice.position + row - (slidingWindow - 1))
    }

    /// The sums of one part, to `sums` [rows · groupSize, headSize + 2].
    private func attend(
        _ rows: Range<Int>, of slice: SequenceSlice, head: Int, part: Int, _ scratch: AttentionScratch,
        into sums: UnsafeMutablePointer<Float>, _ pass: ForwardPass
    ) {
        let width = keyValueHeadCount * groupSize * headSize
        let offset = (slice.firstRow + rows.lowerBound) * width + head * groupSize * headSize
        // Several rows begin at the sequence's beginning and thus at a part's; a window may begin inside a part.
        let begin = max(start(rows.lowerBound, slice), part * Self.partPositions)
        let seen = slice.position + rows.lowerBound + 1 - begin
        let positions = rows.count == 1 ? min(seen, (part + 1) * Self.partPositions - begin) : seen
        pass.kernels.pointee.attention(
            pass.activations.queries.pointer + offset, width, rows.count, groupSize,
            slice.cache.keys(layer: layer, head: head, from: begin),
            slice.cache.values(layer: layer, head: head, from: begin), positions, headSize,
            scale, cap, scratch.kernel, sums)
    }

    /// Merged sums to the output projection's input.
    private func finish(
        _ rows: Range<Int>, of slice: SequenceSlice, head: Int, _ scratch: AttentionScratch, _ pass: ForwardPass
    ) {
        let width = keyValueHeadCount * groupSize
        for index in 0..<rows.count * groupSize {
            let (row, query) = index.quotientAndRemainder(dividingBy: groupSize)
            let sums = scratch.sums + index * (headSize + 2)
            let y =
                pass.activations.attended.pointer
                + ((slice.firstRow + rows.lowerBound + row) * width + head * groupSize + query) * headSize
            let scale = 1 / sums[headSize + 1]
            for channel in 0..<headSize { y[channel] = sums[channel] * scale }
        }
    }
}

/// The perceptron of a block:
///
///     y = (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ        gated; gelu in place of silu in some families
///     y = relu(x Wuᵀ) Wdᵀ                  otherwise
final class MLP: Sendable {
    /// Channels of one token that one part of the loop over them takes.
    private static let partChannels = 2048

    /// `mlp.gate_proj` where there is one, `mlp.up_proj` (OPT: `fc1`)
    private let gateUp: LinearGroup
    /// `mlp.down_proj` (OPT: `fc2`)
    private let down: LinearGroup
    private let activation: DecoderStructure.MLP
    private let width: Int

    init(_ block: BlockDescription, weights: LinearWeights, of checkpoint: Checkpoint) throws {
        let last = block.linears.count - 1
        activation = checkpoint.configuration.structure.mlp
        gateUp = try weights.group(block.linears[4..<last], of: checkpoint)
        down = try weights.group(block.linears[last...], of: checkpoint)
        width = block.up.outputs
    }

    /// x, y: [rows, hiddenSize].
    func callAsFunction(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, _ pass: ForwardPass) {
        let activated = pass.activations.activated.pointer
        let up = pass.activations.up.pointer
        gateUp(x, pass) { $0 == 0 ? activated : up }
        // The rows lie one after the other, so channels of all of them are one run.
        pass.parallelFor(pass.rows * width, grain: Self.partChannels) { range in
            let first = activated + range.lowerBound
            switch activation {
            case .gatedSiLU: pass.kernels.pointee.swiglu(first, up + range.lowerBound, range.count, first)
            case .gatedGELU: multiplyByGELU(up + range.lowerBound, gate: first, count: range.count, pass.kernels)
            case .rectified: pass.kernels.pointee.relu(first, range.count, first)
            }
        }
        down(activated, pass) { _ in y }
    }
}

/// gate ← gelu(gate) ⊙ up, where gelu(x) = x σ(2u) with u = √(2/π) (x + 0.044715 x³), the approximation by tanh. up is changed.
///
/// With r = 2u / x, which is above 1 everywhere, x σ(2u) is silu(x r) / r, for which there is a kernel.
private func multiplyByGELU(
    _ up: UnsafeMutablePointer<Float>, gate: UnsafeMutablePointer<Float>, count: Int, _ kernels: Kernels
) {
    let scale: Float = 2 * (2 / Float.pi).squareRoot()
    for index in 0..<count {
        let r = scale * (1 + 0.044715 * gate[index] * gate[index])
        gate[index] *= r
        up[index] /= r
    }
    kernels.pointee.swiglu(gate, up, count, gate)
}

/// One transformer block, its norms before the sublayers, after them, or on what they give:
///
///     x ← x + Attention(norm(x)) · m      x ← norm(x + Attention(x) · m)      x ← x + norm(Attention(x)) · m
///     x ← x + MLP(norm(x)) · m            x ← norm(x + MLP(x) · m)            x ← x + norm(MLP(x)) · m
///
/// or both before them and on what they give.
final class DecoderBlock: Sendable {
    /// `input_layernorm`
    private let attentionNorm: Norm
    /// `self_attn`
    private let attention: Attention
    /// `post_attention_layernorm`
    private let mlpNorm: Norm
    /// Norms of what the sublayers give, where there are norms before them too.
    private let attentionOutputNorm: Norm?
    private let mlpOutputNorm: Norm?
    /// `mlp`
    private let mlp: MLP
    private let normPlacement: DecoderStructure.NormPlacement
    /// m
    private let multiplier: Float
    private let hiddenSize: Int

    init(layer: Int, weights: LinearWeights, of checkpoint: Checkpoint) throws {
        let block = checkpoint.configuration.block(layer)
        attentionNorm = try Norm(block.attentionNorm, of: checkpoint)
        attention = try Attention(block, weights: weights, of: checkpoint)
        mlpNorm = try Norm(block.mlpNorm, of: checkpoint)
        attentionOutputNorm = try block.attentionOutputNorm.map { try Norm($0, of: checkpoint) }
        mlpOutputNorm = try block.mlpOutputNorm.map { try Norm($0, of: checkpoint) }
        mlp = try MLP(block, weights: weights, of: checkpoint)
        normPlacement = checkpoint.configuration.structure.normPlacement
        multiplier = checkpoint.configuration.structure.residualMultiplier
        hiddenSize = checkpoint.configuration.hiddenSize
    }

    /// x, the residual stream: [rows, hiddenSize].
    func callAsFunction(_ x: UnsafeMutablePointer<Float>, _ pass: ForwardPass) {
        add(attentionNorm, attentionOutputNorm, to: x, pass) { attention($0, into: $1, pass) }
        add(mlpNorm, mlpOutputNorm, to: x, pass) { mlp($0, into: $1, pass) }
    }

    /// Adds the output of a sublayer to x, and normalizes where the norm is.
    private func add(
        _ norm: Norm, _ outputNorm: Norm?, to x: UnsafeMutablePointer<Float>, _ pass: ForwardPass,
        sublayer: (UnsafePointer<Float>, UnsafeMutablePointer<Float>) -> Void
    ) {
        let branchOutput = pass.activations.branchOutput.pointer
        switch normPlacement {
        case .beforeSublayers, .aroundSublayers:
            let normed = pass.activations.normed.pointer
            norm(x, into: normed, pass)
            sublayer(normed, branchOutput)
        case .afterSublayers, .onSublayerOutputs:
            sublayer(x, branchOutput)
        }
        pass.parallelFor(pass.rows) { range in
            for row in range {
                let (x, y) = (x + row * hiddenSize, branchOutput + row * hiddenSize)
                if let outputNorm = normPlacement == .onSublayerOutputs ? norm : outputNorm {
                    outputNorm.normalize(y, into: y, kernels: pass.kernels)
                }
                multiply(y, count: hiddenSize, by: multiplier)
                pass.kernels.pointee.add(y, hiddenSize, x)
                if normPlacement == .afterSublayers { norm.normalize(x, into: x, kernels: pass.kernels) }
            }
        }
    }
}

/// From the residual stream to logits, for the rows that are wanted:
///
///     x ← norm(x)          where a norm follows the last block
///     x ← x · m            where the family has a multiplier
///     x ← x Pᵀ             where the embedding has a width of its own
///     logits = x Whᵀ       Wh in floats, in 8 bits, or as dense layers are;
///                          c tanh(… / c) of them where the family caps them
struct OutputHead: Sendable {
    private enum Matrix: Sendable {
        case floats(FloatMatrix)
        case int8(Int8Matrix)
        case dense(DenseLinearGroup)
    }

    /// Rows of a float matrix that one part of the loop over them takes.
    private static let partRows = 64
    /// Logits that one part of the loop that caps them takes.
    private static let partLogits = 4096
    /// Bytes of an 8-bit one: enough that the few which are fetched beyond the end don't matter.
    private static let partBytes = 128 << 10

    /// `model.norm`
    private let norm: Norm?
    /// m
    private let multiplier: Float
    /// c
    private let cap: Float?
    /// `project_out`
    private let projection: FloatMatrix?
    /// `lm_head`, or the embedding where they are tied
    private let matrix: Matrix
    private let hiddenSize: Int
    private let vocabularySize: Int
    /// Number of the head's input among the hidden states.
    private let stage: Int

    init(
        of checkpoint: Checkpoint, weights: LinearWeights, precision: HeadPrecision, kernels: Kernels, pool: ThreadPool
    ) throws {
        let configuration = checkpoint.configuration
        norm = try configuration.finalNorm.map { try Norm($0, of: checkpoint) }
        multiplier = configuration.structure.logitMultiplier
        cap = configuration.structure.logitSoftCap
        projection = try configuration.outputProjection.map { try FloatMatrix($0, of: checkpoint) }
        matrix =
            switch (weights, precision) {
            case (.dense(let dense, let pool, _), _):
                .dense(
                    DenseLinearGroup([
                        DenseLinear(try DenseMatrix(configuration.head, of: checkpoint, kernels: dense, pool: pool))
                    ]))
            case (.signs, _) where checkpoint.int8Matrices[configuration.head.name] != nil:
                .int8(try Int8Matrix(configuration.head, of: checkpoint))
            case (.signs, .stored): .floats(try FloatMatrix(configuration.head, of: checkpoint))
            case (.signs, .bits8):
                .int8(
                    try Int8Matrix(
                        rounding: FloatMatrix(configuration.head, of: checkpoint), kernels: kernels, pool: pool))
            }
        hiddenSize = configuration.hiddenSize
        vocabularySize = configuration.vocabularySize
        stage = configuration.layerCount
    }

    /// Bytes that a token reads.
    var byteCount: Int {
        let projectionBytes = projection?.byteCount ?? 0
        return switch matrix {
        case .floats(let matrix): matrix.byteCount + projectionBytes
        case .int8(let matrix): matrix.byteCount + projectionBytes
        case .dense(let group): group.byteCount + projectionBytes
        }
    }

    /// x: [rows, hiddenSize]; the logits of the pass's wanted rows go where it says.
    func callAsFunction(_ x: UnsafePointer<Float>, _ pass: ForwardPass) {
        let rows = pass.logitRows.count
        let normed = pass.activations.normed.pointer
        pass.parallelFor(rows) { range in
            for index in range {
                let source = x + pass.logitRows[index] * hiddenSize
                let target = normed + index * hiddenSize
                if let norm {
                    norm.normalize(source, into: target, kernels: pass.kernels)
                } else {
                    target.update(from: source, count: hiddenSize)
                }
                multiply(target, count: hiddenSize, by: multiplier)
            }
        }
        var input = normed
        if let projection {
            input = pass.activations.embedded.pointer
            pass.parallelFor(projection.rows, grain: Self.partRows) { range in
                projection.product(rows: range, normed, tokens: rows, into: input, kernels: pass.kernels)
            }
        }
        pass.hiddenStates?.record(stage, input, pass)
        switch matrix {
        case .floats(let matrix):
            pass.parallelFor(vocabularySize, grain: Self.partRows) {
                matrix.product(rows: $0, input, tokens: rows, into: pass.logits, kernels: pass.kernels)
            }
        case .int8(let matrix):
            let rounded = pass.activations.headInputs.pointer
            let scales = pass.activations.headInputScales.pointer
            pass.parallelFor(rows) { range in
                for row in range {
                    let first = row * matrix.columns
                    scales[row] = matrix.round(input + first, into: rounded + first, kernels: pass.kernels)
                }
            }
            pass.parallelFor(vocabularySize, grain: max(1, Self.partBytes / matrix.columns)) {
                matrix.product(rows: $0, rounded, scales, tokens: rows, into: pass.logits, kernels: pass.kernels)
            }
        case .dense(let group): group(input, rows: rows, pass) { _ in pass.logits }
        }
        guard let cap else { return }
        pass.parallelFor(rows * vocabularySize, grain: Self.partLogits) { range in
            let logits = pass.logits + range.lowerBound
            pass.kernels.pointee.soft_cap(logits, range.count, 1, cap, logits)
        }
    }
}
