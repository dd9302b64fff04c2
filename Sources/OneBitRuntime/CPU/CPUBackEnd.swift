import CSignKernels
import Foundation
import LanguageModel
import ModelDescription

/// Models on the CPU: their weights, the kernels of one instruction set, and a pool of threads.
final class CPUBackEnd: BackEnd {
    let configuration: ModelConfiguration
    let transformer: CPUTransformer
    let instructionSet: InstructionSet
    let pool: ThreadPool
    let inputPrecision: InputPrecision
    /// In what precision keys and values are kept.
    let cachePrecision: CachePrecision
    let bytesPerToken: Int
    /// Bytes of files that every pass reads where they are mapped. The system counts their pages as memory that can be had,
    /// so whatever is allocated beside them has to leave them room.
    let mappedByteCount: Int

    var kernels: Kernels { instructionSet.kernels }

    /// Maps a packed checkpoint, reads its value vectors, and maps the signs in the order that the kernels want, which the first
    /// load of a checkpoint makes.
    init(checkpoint: Checkpoint, options: LoadOptions) throws {
        configuration = checkpoint.configuration
        instructionSet = try options.instructionSet ?? InstructionSet.selected()
        pool = ThreadPool(threadCount: options.threads ?? PhysicalCores.count)
        inputPrecision = options.inputPrecision
        cachePrecision = options.cachePrecision
        let widestHead = Int(SIGN_KERNELS_INT8_HEAD_SIZE)
        guard cachePrecision != .bits8 || configuration.headSize <= widestHead else {
            throw RuntimeError.headTooWide(
                directory: checkpoint.directory.path, channels: configuration.headSize, maximum: widestHead)
        }
        let layout = instructionSet.layout
        let signs = try SignLayoutCache(
            checkpoint: checkpoint, layout: layout, pool: pool, userCache: options.cacheDirectory
        ).load(policy: options.layoutPolicy, report: options.report)
        mappedByteCount = 0
        transformer = try CPUTransformer(
            of: checkpoint, weights: .signs(signs, layout), headPrecision: options.headPrecision,
            kernels: instructionSet.kernels, pool: pool)
        bytesPerToken = configuration.linears.reduce(transformer.head.byteCount) { bytes, linear in
            let count = linear.inputs + linear.outputs * (linear.hasBias ? 2 : 1)
            let values = count * MemoryLayout<Float>.size
            return bytes + values + layout.byteCount(rows: linear.outputs, columns: linear.inputs)
        }
    }

    /// Maps a dense checkpoint, and looks at all of its weights once.
    init(
        dense checkpoint: Checkpoint, kernels: DenseKernels, instructionSet: InstructionSet, threads: Int?,
        inputPrecision: InputPrecision?
    ) throws {
        configuration = checkpoint.configuration
        self.instructionSet = instructionSet
        pool = ThreadPool(threadCount: threads ?? PhysicalCores.count)
        // Of sign layers, which there are none.
        self.inputPrecision = .default
        cachePrecision = .bits16
        mappedByteCount = checkpoint.byteCount - checkpoint.convertedByteCount
        transformer = try CPUTransformer(
            of: checkpoint, weights: .dense(kernels, pool, rounding: inputPrecision), headPrecision: .stored,
            kernels: instructionSet.kernels, pool: pool)
        bytesPerToken = try configuration.linears.reduce(transformer.head.byteCount) { bytes, linear in
            try bytes + checkpoint.mapped(linear.weightName).bytes.count
        }
    }

    func cacheByteCount(positions: Int) -> Int {
        KeyValueCache.byteCount(configuration, capacity: positions, precision: cachePrecision)
    }

    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        try CPUDecodingContext(self, limits: limits)
    }

    func states(of tokens: [Int]) throws -> ModelStates {
        let count = tokens.count
        let states = try HiddenStates(configuration: configuration, rows: count)
        let context = try CPUDecodingContext(
            self, limits: DecodingLimits(sequences: 1, positions: count, batchTokens: count, logitRows: count),
            hiddenStates: states)
        var batch = TokenBatch(capacity: count)
        batch.append(tokens, to: try context.makeSequence(capacity: count), sequenceLength: count, logits: .all)
        try context.decode(batch)
        return ModelStates(logits: context.allLogits, hiddenStates: states.arrays)
    }

    func measureReadBandwidth(repetitions: Int) throws -> Double {
        // As much as a token reads, and more than any cache holds.
        let byteCount = min(max(bytesPerToken, 256 << 20), 1 << 30) & ~255
        try AvailableMemory.require(byteCount, for: "measuring the memory's bandwidth")
        let buffer = try Buffer<UInt8>(count: byteCount)
        // Pages that were never written are all one page of zeros.
        for offset in stride(from: 0, to: byteCount, by: 4096) { buffer.pointer[offset] = 1 }
        let rates = try (0..<repetitions).map { _ in
            let start = ContinuousClock.now
            try pool.parallelFor(byteCount, grain: 1 << 18) { range in
                _ = kernels.pointee.read(buffer.pointer + range.lowerBound, range.count)
            }
            return Double(byteCount) / max((ContinuousClock.now - start) / .seconds(1), 1e-9)
        }
        return rates.sorted()[repetitions / 2]
    }
}
