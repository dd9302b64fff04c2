import LanguageModel
import ModelDescription

/// Sequences of a packed model on the CPU, and the memory of one forward pass, in which all workers of the back end's
/// thread pool walk through a batch together.
///
/// Nothing is allocated for a batch. A batch longer than a pass is computed in several.
final class CPUDecodingContext: DecodingContext, ParallelTask {
    /// Tokens of a pass at most: enough to use each weight many times, few enough for activations to stay in the cache.
    private static let passTokens = 128
    /// Products and sums of a pass below which one thread is faster than several that meet.
    private static let fewestShared = 16 << 20
    /// Those that one thread computes in a small part of a second, so that cancellation can wait for them.
    private static let fewestCancellable = 1 << 32

    let limits: DecodingLimits
    private let backEnd: CPUBackEnd
    private let vocabularySize: Int
    /// Weights in the linears of all blocks.
    private let weightCount: Int
    private let activations: Activations
    /// By slot; nil where a slot is free.
    private var sequences: [KeyValueCache?]
    /// Of the wanted rows of the last batch: [logitRowCount, vocabularySize]
    private let logits: Buffer<Float>
    private var logitRowCount = 0

    // The pass under way.
    private let tokens: Buffer<Int>
    private let slices: Buffer<SequenceSlice>
    private let wantedRows: Buffer<Int>
    /// θ_i of the sequences of a pass, where these depend on their lengths.
    private let frequencies: Buffer<Float>
    private var rowCount = 0
    private var sliceCount = 0
    private var wantedCount = 0
    /// Number of the pass's first wanted row in the batch.
    private var firstLogitRow = 0
    private let hiddenStates: HiddenStates?

    /// - Parameter hiddenStates: takes the states of a batch that wants the logits of all rows.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(_ backEnd: CPUBackEnd, limits: DecodingLimits, hiddenStates: HiddenStates? = nil) throws {
        let configuration = backEnd.configuration
        let rows = max(1, min(limits.batchTokens, Self.passTokens))
        self.backEnd = backEnd
        self.limits = limits
        self.hiddenStates = hiddenStates
        vocabularySize = configuration.vocabularySize
        weightCount = configuration.linearWeightCount
        activations = try Activations(
            configuration: configuration, rows: rows, positions: limits.positions,
            threads: backEnd.pool.threadCount, instructionSet: backEnd.instructionSet,
            inputPrecision: backEnd.inputPrecision)
        sequences = Array(repeating: nil, count: limits.sequences)
        let (logitCount, overflow) = limits.logitRows.multipliedReportingOverflow(by: vocabularySize)
        logits = try Buffer(count: overflow ? .max : logitCount)
        tokens = try Buffer(count: rows)
        slices = try Buffer(count: rows)
        wantedRows = try Buffer(count: rows)
        frequencies = try Buffer(count: rows * configuration.headSize / 2)
    }

    // MARK: Sequences

    func makeSequence(capacity: Int) throws -> SequenceID {
        guard capacity <= limits.positions else {
            throw LanguageModelError.contextExceeded(tokens: capacity, maximum: limits.positions)
        }
        guard let slot = sequences.firstIndex(where: { $0 == nil }) else {
            throw LanguageModelError.tooManySequences(maximum: limits.sequences)
        }
        try AvailableMemory.require(
            backEnd.cacheByteCount(positions: capacity) + backEnd.mappedByteCount,
            for: (backEnd.mappedByteCount > 0 ? "the model and " : "") + "the keys and values of \(capacity) tokens")
        sequences[slot] = try KeyValueCache(
            configuration: backEnd.configuration, capacity: max(0, capacity), precision: backEnd.cachePrecision)
        return SequenceID(index: slot)
    }

    func removeSequence(_ id: SequenceID) {
        if sequences.indices.contains(id.index) { sequences[id.index] = nil }
    }

    func length(of id: SequenceID) -> Int { sequence(id)?.length ?? 0 }

    func truncate(_ id: SequenceID, to length: Int) {
        sequence(id)?.truncate(to: length)
    }

    func copyBeginning(of source: SequenceID, to target: SequenceID, count: Int) {
        guard let source = sequence(source), let target = sequence(target) else { return }
        target.copyBeginning(of: source, count: count)
    }

    private func sequence(_ id: SequenceID) -> KeyValueCache? {
        sequences.indices.contains(id.index) ? sequences[id.index] : nil
    }

    // MARK: Decoding

    func decode(_ batch: TokenBatch) throws {
        try batch.validate(limits, vocabularySize: vocabularySize) { id in
            sequence(id).map { ($0.length, $0.capacity) }
        }
        logitRowCount = 0
        firstLogitRow = 0
        for slice in batch.slices { sequence(slice.sequence)!.willWrite(slice.rows.count) }
        for first in stride(from: 0, to: batch.tokens.count, by: activations.rowCapacity) {
            try Task.checkCancellation()
            preparePass(batch, rows: first..<min(first + activations.rowCapacity, batch.tokens.count))
            let work = weightCount.multipliedReportingOverflow(by: rowCount)
            let fewest = backEnd.pool.threadCount == 1 ? Self.fewestCancellable : Self.fewestShared
            if !work.overflow && work.partialValue < fewest {
                backEnd.pool.runAlone(self)
            } else {
                try backEnd.pool.run(self)
            }
            try checkLogits()
            firstLogitRow += wantedCount
        }
        for slice in batch.slices { sequence(slice.sequence)!.append(slice.rows.count) }
        logitRowCount = batch.logitRowCount
    }

    func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        guard 0..<logitRowCount ~= row else { throw LanguageModelError.noTokens }
        return try body(UnsafeBufferPointer(start: logits.pointer + row * vocabularySize, count: vocabularySize))
    }

    func predictions(row: Int, targets: [Int]) throws -> [TokenPrediction] {
        try withLogits(row: row) { logits in
            var largest: Float = 0
            let logSum = backEnd.kernels.pointee.log_sum_exp(logits.baseAddress!, logits.count, &largest)
            return targets.map { target in
                let isLargest = logits[target] == largest
                return TokenPrediction(
                    logProbability: Double(logits[target]) - logSum,
                    // Of equal logits the first counts as the largest.
                    isLikeliest: isLargest && !logits[..<target].contains(largest))
            }
        }
    }

    /// All rows of the last batch.
    var allLogits: [Float] {
        Array(UnsafeBufferPointer(start: logits.pointer, count: logitRowCount * vocabularySize))
    }

    /// Sets up the pass over some rows of a valid batch.
    private func preparePass(_ batch: TokenBatch, rows: Range<Int>) {
        rowCount = rows.count
        sliceCount = 0
        wantedCount = 0
        hiddenStates?.firstRow = rows.lowerBound
        for row in rows { tokens.pointer[row - rows.lowerBound] = batch.tokens[row] }
        for slice in batch.slices where slice.rows.overlaps(rows) {
            let part = slice.rows.clamped(to: rows)
            let cache = sequence(slice.sequence)!
            let scratch = frequencies.pointer + sliceCount * backEnd.configuration.headSize / 2
            let frequencies =
                backEnd.transformer.rotations.first?.frequencies(sequenceLength: slice.sequenceLength, scratch: scratch)
            for first in stride(from: part.lowerBound, to: part.upperBound, by: SequenceSlice.rowLimit) {
                slices.pointer[sliceCount] = SequenceSlice(
                    cache: cache.rows, firstRow: first - rows.lowerBound,
                    rowCount: min(SequenceSlice.rowLimit, part.upperBound - first),
                    position: cache.length + first - slice.rows.lowerBound,
                    frequencies: frequencies ?? UnsafePointer(scratch))
                sliceCount += 1
            }
            for row in slice.wantedRows.clamped(to: rows) {
                wantedRows.pointer[wantedCount] = row - rows.lowerBound
                wantedCount += 1
            }
        }
    }

    func run(as worker: ThreadPool.Worker) {
        backEnd.transformer(
            ForwardPass(
                rows: rowCount,
                tokens: tokens.pointer,
                slices: UnsafeBufferPointer(start: slices.pointer, count: sliceCount),
                logitRows: UnsafeBufferPointer(start: wantedRows.pointer, count: wantedCount),
                logits: logits.pointer + firstLogitRow * vocabularySize,
                activations: activations,
                hiddenStates: hiddenStates,
                kernels: backEnd.kernels,
                worker: worker))
    }

    /// NaN and infinity have all bits of the exponent set.
    private func checkLogits() throws {
        for index in 0..<wantedCount {
            let values = logits.pointer + (firstLogitRow + index) * vocabularySize
            var isFinite = true
            for token in 0..<vocabularySize {
                isFinite = isFinite && values[token].bitPattern & 0x7f80_0000 != 0x7f80_0000
            }
            guard !isFinite else { continue }
            let row = wantedRows.pointer[index]
            for slice in UnsafeBufferPointer(start: slices.pointer, count: sliceCount)
            where slice.firstRow..<slice.firstRow + slice.rowCount ~= row {
                throw LanguageModelError.nonFiniteLogits(position: slice.position + row - slice.firstRow)
            }
        }
    }
}
