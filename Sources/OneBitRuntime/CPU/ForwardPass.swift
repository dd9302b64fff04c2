import CSignKernels
import ModelDescription

/// What every layer needs of a forward pass, as one worker sees it: which rows there are, where their activations are, and
/// what to compute with. Every worker of a thread pool calls every layer with a pass of the same rows.
struct ForwardPass {
    /// Tokens of the pass.
    let rows: Int
    /// Token ids, [rows].
    let tokens: UnsafePointer<Int>
    /// The rows by sequence.
    let slices: UnsafeBufferPointer<SequenceSlice>
    /// Rows whose logits are wanted.
    let logitRows: UnsafeBufferPointer<Int>
    /// Where these go, [logitRows.count, vocabularySize].
    let logits: UnsafeMutablePointer<Float>
    let activations: Activations
    /// Takes the states on the way, if they are wanted.
    let hiddenStates: HiddenStates?
    let kernels: Kernels
    let worker: ThreadPool.Worker

    /// As ``ThreadPool/Worker/parallelFor(_:grain:_:)``.
    func parallelFor(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        worker.parallelFor(count, grain: grain, body)
    }
}

/// Some consecutive tokens of one sequence in a forward pass: as many as one part of a loop takes.
struct SequenceSlice: BitwiseCopyable {
    static let rowLimit = 8

    let cache: KeyValueCache.Rows
    /// The first of its rows of the pass.
    let firstRow: Int
    let rowCount: Int
    /// Position of the first row in the sequence.
    let position: Int
    /// θ_i of rotary positions that depend on the length of the sequence, [rotated pairs of a head].
    let frequencies: UnsafePointer<Float>
}

/// The activations of a forward pass, and scratch memory of its layers. Made once; nothing is allocated in a pass.
final class Activations {
    /// Most rows of a pass.
    let rowCapacity: Int
    /// The residual stream: [rows, hiddenSize]
    let hidden: Buffer<Float>
    /// What enters attention and MLP: [rows, hiddenSize]
    let normed: Buffer<Float>
    /// What they add to the residual stream: [rows, hiddenSize]
    let branchOutput: Buffer<Float>
    /// [rows, heads · headSize]
    let queries: Buffer<Float>
    /// [rows, keyValueHeads · headSize]
    let keys: Buffer<Float>
    let values: Buffer<Float>
    /// What attention gives to its output projection: [rows, heads · headSize]
    let attended: Buffer<Float>
    /// The gate projection, or without a gate the up projection; then what enters the down projection:
    /// [rows, intermediateSize]
    let activated: Buffer<Float>
    /// The up projection where there is a gate too: [rows, intermediateSize]
    let up: Buffer<Float>
    /// Rows as wide as the embedding or the residual stream, whichever is wider: [rows, embeddedWidth]
    let embedded: Buffer<Float>
    let embeddedWidth: Int
    /// What an 8-bit output head reads, rounded: [rows, embeddingSize], and its scales: [rows]
    let headInputs: Buffer<Int16>
    let headInputScales: Buffer<Float>
    /// Of the rows' positions: [rotations, rows, headSize / 2], of which the pairs that are rotated are used
    private let cosines: Buffer<Float>
    private let sines: Buffer<Float>
    private let headSize: Int
    let signProduct: SignProductScratch
    /// What dense layers read, packed for their kernels: [rows, the widest input as floats, filled up to whole steps]
    let denseInputs: Buffer<UInt8>
    /// An input of a dense layer and what it is rounded to: [worker, widest]
    private let roundedIntegers: Buffer<Int16>
    private let roundedInputs: Buffer<Float>
    private let widest: Int

    private let attentionScratch: [AttentionScratch]
    /// Sums of attention by sequence and head, by part of the positions, where workers share these.
    private let attentionParts: Buffer<Float>
    private let sharesAttention: Bool
    /// Units of attention that keep all workers busy.
    private let enoughUnits: Int

    /// - Parameters:
    ///   - rows: most rows of a pass.
    ///   - positions: most positions of a sequence.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(
        configuration: ModelConfiguration, rows: Int, positions: Int, threads: Int, instructionSet: InstructionSet,
        inputPrecision: InputPrecision
    ) throws {
        rowCapacity = rows
        let hiddenSize = configuration.hiddenSize
        let queryWidth = configuration.attentionHeadCount * configuration.headSize
        let keyValueWidth = configuration.keyValueHeadCount * configuration.headSize
        hidden = try Buffer(count: rows * hiddenSize)
        normed = try Buffer(count: rows * hiddenSize)
        branchOutput = try Buffer(count: rows * hiddenSize)
        queries = try Buffer(count: rows * queryWidth)
        keys = try Buffer(count: rows * keyValueWidth)
        values = try Buffer(count: rows * keyValueWidth)
        attended = try Buffer(count: rows * queryWidth)
        activated = try Buffer(count: rows * configuration.intermediateSize)
        up = try Buffer(count: rows * configuration.intermediateSize)
        embeddedWidth = max(hiddenSize, configuration.embeddingSize)
        embedded = try Buffer(count: rows * embeddedWidth)
        headInputs = try Buffer(count: rows * configuration.embeddingSize)
        headInputScales = try Buffer(count: rows)
        headSize = configuration.headSize
        let rotations = max(1, configuration.structure.rotations.count)
        cosines = try Buffer(count: rotations * rows * headSize / 2)
        sines = try Buffer(count: rotations * rows * headSize / 2)
        let widest = max(hiddenSize, queryWidth, configuration.intermediateSize, configuration.embeddingSize)
        self.widest = widest
        roundedIntegers = try Buffer(count: threads * widest)
        roundedInputs = try Buffer(count: threads * widest)
        signProduct = try SignProductScratch(
            tokens: rows, widest: widest, threads: threads, instructionSet: instructionSet, precision: inputPrecision)
        denseInputs = try Buffer(
            count: rows * (widest + Int(SIGN_KERNELS_DENSE_PADDING)) * MemoryLayout<Float>.size,
            alignment: Int(SIGN_KERNELS_ALIGNMENT))
        attentionScratch = try (0..<threads).map { _ in try AttentionScratch(configuration) }
        sharesAttention = threads > 1
        enoughUnits = 16 * threads
        let part = Int(SIGN_KERNELS_ATTENTION_POSITIONS)
        attentionParts = try Buffer(
            count: sharesAttention
                ? Self.fewSequences * ((positions + part - 1) / part + 1) * configuration.attentionHeadCount
                    * (configuration.headSize + 2) : 0)
    }

    func roundedInput(worker: Int) -> (UnsafeMutablePointer<Int16>, UnsafeMutablePointer<Float>) {
        (roundedIntegers.pointer + worker * widest, roundedInputs.pointer + worker * widest)
    }

    /// Cosines and sines of a row's position.
    func rotation(
        _ number: Int, row: Int, pairCount: Int
    ) -> (cosines: UnsafeMutablePointer<Float>, sines: UnsafeMutablePointer<Float>) {
        let offset = number * rowCapacity * headSize / 2 + row * pairCount
        return (cosines.pointer + offset, sines.pointer + offset)
    }

    func attentionScratch(worker: Int) -> AttentionScratch { attentionScratch[worker] }

    /// Sequences of a pass up to which workers share a head's positions.
    private static let fewSequences = 8

    /// Where the sums of the parts go, [units, parts, queries of a unit, headSize + 2], if workers share the positions of a
    /// head: for single tokens of long sequences, of which there are too few heads to keep all workers busy.
    func attentionParts(
        units: Int, parts: Int, slices: UnsafeBufferPointer<SequenceSlice>
    ) -> UnsafeMutablePointer<Float>? {
        let isShared =
            sharesAttention && parts > 1 && units < enoughUnits && slices.count <= Self.fewSequences
            && slices.allSatisfy { $0.rowCount == 1 }
        return isShared ? attentionParts.pointer : nil
    }
}

/// What one worker computes attention in: for up to ``SequenceSlice/rowLimit`` tokens' queries that share a head.
final class AttentionScratch {
    /// The kernel's.
    let kernel: UnsafeMutablePointer<Float>
    /// Sums of a part, and of all parts so far: a row of `headSize` floats, their largest score and the weights' sum.
    let part: UnsafeMutablePointer<Float>
    let sums: UnsafeMutablePointer<Float>
    private let headSize: Int
    private let buffer: Buffer<Float>

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(_ configuration: ModelConfiguration) throws {
        headSize = configuration.headSize
        let rows =
            SequenceSlice.rowLimit * (configuration.attentionHeadCount / configuration.keyValueHeadCount)
        let kernelSize =
            Int(SIGN_KERNELS_ATTENTION_ROWS) * (Int(SIGN_KERNELS_ATTENTION_POSITIONS) + headSize + 15)
        buffer = try Buffer(count: kernelSize + 2 * rows * (headSize + 2))
        kernel = buffer.pointer
        part = kernel + kernelSize
        sums = part + rows * (headSize + 2)
    }

    /// Empties the sums of some queries.
    func clearSums(rows: Int) {
        for row in 0..<rows {
            let sums = sums + row * (headSize + 2)
            sums.update(repeating: 0, count: headSize + 2)
            sums[headSize] = -.infinity
        }
    }

    /// Adds a part to them.
    func merge(_ part: UnsafePointer<Float>, rows: Int, kernels: Kernels) {
        kernels.pointee.attention_merge(part, rows, headSize, sums)
    }
}

/// What enters each block [rows, hiddenSize], and at last what the output head reads [rows, embeddingSize], of all tokens
/// of a sequence.
// Unchecked because of the buffers: workers write ranges of rows that do not overlap, and nobody else does before the
// pass is over; `firstRow` changes between passes.
final class HiddenStates: @unchecked Sendable {
    /// The row of the sequence that is the first of the pass.
    var firstRow = 0
    private let stages: [Buffer<Float>]
    private let widths: [Int]

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(configuration: ModelConfiguration, rows: Int) throws {
        widths =
            [Int](repeating: configuration.hiddenSize, count: configuration.layerCount) + [configuration.embeddingSize]
        stages = try widths.map { try Buffer(count: rows * $0) }
    }

    /// Copies x [pass.rows, the stage's width].
    func record(_ stage: Int, _ x: UnsafePointer<Float>, _ pass: ForwardPass) {
        let width = widths[stage]
        let target = stages[stage].pointer + firstRow * width
        pass.parallelFor(pass.rows) { range in
            let first = range.lowerBound * width
            (target + first).update(from: x + first, count: range.count * width)
        }
    }

    var arrays: [[Float]] {
        stages.map { Array(UnsafeBufferPointer(start: $0.pointer, count: $0.count)) }
    }
}
