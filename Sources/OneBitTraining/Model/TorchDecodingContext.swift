import LanguageModel
import ModelDescription
import Torch

/// Sequences whose keys and values lie in one pool. Linear layers read all rows of a batch at once; of attention, the rows
/// that are the only new token of their sequence are one operation, and prompts go sequence by sequence.
final class TorchDecodingContext: DecodingContext {
    let limits: DecodingLimits
    private let model: TorchModel
    private let pool: KeyValuePool
    /// Of the last batch's wanted rows.
    private var logits: [Float] = []

    init(_ model: TorchModel, limits: DecodingLimits) {
        self.model = model
        self.limits = limits
        pool = KeyValuePool(model.model, slots: limits.sequences, positions: limits.positions)
    }

    func makeSequence(capacity: Int) throws -> SequenceID {
        guard let slot = pool.sequences.firstIndex(where: { $0 == nil }) else {
            throw LanguageModelError.tooManySequences(maximum: limits.sequences)
        }
        let maximum = min(limits.positions, model.configuration.maximumPositions)
        guard capacity <= maximum else { throw LanguageModelError.contextExceeded(tokens: capacity, maximum: maximum) }
        try AvailableMemory.require(
            model.cacheByteCount(positions: capacity), for: "The key/value cache of \(capacity) positions")
        pool.sequences[slot] = KeyValuePool.Sequence(capacity: capacity)
        return SequenceID(index: slot)
    }

    func removeSequence(_ id: SequenceID) {
        if pool.sequences.indices.contains(id.index) { pool.sequences[id.index] = nil }
    }

    func length(of id: SequenceID) -> Int { sequence(id)?.length ?? 0 }

    func truncate(_ id: SequenceID, to length: Int) {
        if let sequence = sequence(id) { pool.sequences[id.index]?.length = min(sequence.length, max(0, length)) }
    }

    func decode(_ batch: TokenBatch) throws {
        let vocabulary = model.configuration.vocabularySize
        try batch.validate(limits, vocabularySize: vocabulary) { id in
            self.sequence(id).map { ($0.length, $0.capacity) }
        }
        logits.removeAll(keepingCapacity: true)
        let slices = batch.slices.map {
            DecodingSlice(
                slot: $0.sequence.index, position: length(of: $0.sequence), rows: $0.rows,
                sequenceLength: $0.sequenceLength)
        }
        let wanted = batch.slices.flatMap(\.wantedRows)
        let found = try model.pass {
            let model = model.model
            let positions = try model.positions(of: slices, in: pool)
            let x = try model.residual(self.model.input(batch.tokens), at: positions)  // [1, R, C]
            guard !wanted.isEmpty else { return [Float]() }
            let rows = try x.selecting(.integers(wanted, shape: [wanted.count], device: model.device), along: 1)
            return try model.logits(of: model.headInput(rows)).floats()
        }
        for slice in slices { pool.sequences[slice.slot]?.length = slice.position + slice.rows.count }
        if let index = found.firstIndex(where: { !$0.isFinite }) {
            let row = wanted[index / vocabulary]
            let slice = slices.first { $0.rows.contains(row) }
            throw LanguageModelError.nonFiniteLogits(
                position: slice.map { $0.position + row - $0.rows.lowerBound } ?? row)
        }
        logits = found
    }

    func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        let vocabulary = model.configuration.vocabularySize
        return try logits.withUnsafeBufferPointer { logits in
            guard row >= 0, (row + 1) * vocabulary <= logits.count else { throw LanguageModelError.noTokens }
            return try body(UnsafeBufferPointer(rebasing: logits[row * vocabulary..<(row + 1) * vocabulary]))
        }
    }

    private func sequence(_ id: SequenceID) -> KeyValuePool.Sequence? {
        pool.sequences.indices.contains(id.index) ? pool.sequences[id.index] : nil
    }
}

/// Keys and values of the sequences of a context, by layer [slots, heads, allocated, headSize].
///
/// Memory follows the longest sequence: the buffers double as it grows, up to the most positions. Used from one thread at a
/// time; what is read of it is used in the same pass only.
final class KeyValuePool {
    struct Sequence {
        /// Tokens that are stored.
        var length = 0
        /// Most tokens.
        let capacity: Int

        init(capacity: Int) { self.capacity = capacity }
    }

    private static let firstAllocation = 64

    /// By slot; nil where it is free.
    var sequences: [Sequence?]
    private let model: Transformer
    private let positions: Int
    private var keys: [TensorBuffer] = []
    private var values: [TensorBuffer] = []
    private var allocated = 0

    /// Takes no memory before the first token.
    init(_ model: Transformer, slots: Int, positions: Int) {
        self.model = model
        self.positions = positions
        sequences = Array(repeating: nil, count: slots)
    }

    /// Makes sure that sequences of `count` tokens have room, before a pass writes to them layer by layer.
    func reserve(_ count: Int) throws {
        guard count > allocated else { return }
        let larger = min(positions, max(count, 2 * allocated, Self.firstAllocation))
        precondition(count <= larger, "\(count) tokens in a pool of \(positions)")
        let kept = min(allocated, sequences.compactMap { $0?.length }.max() ?? 0)
        let configuration = model.configuration
        func buffer(_ old: TensorBuffer?) throws -> TensorBuffer {
            // Zeros: a masked position has the weight 0, and 0 · NaN is NaN.
            let new = try TensorBuffer(
                [sequences.count, configuration.keyValueHeadCount, larger, configuration.headSize],
                dtype: model.computeType, device: model.device)
            if let old, kept > 0 { try new.write(old.slices(along: 2, from: 0, count: kept), along: 2, from: 0) }
            return new
        }
        for layer in 0..<configuration.layerCount {
            let newKeys = try buffer(layer < keys.count ? keys[layer] : nil)
            let newValues = try buffer(layer < values.count ? values[layer] : nil)
            if layer < keys.count {
                (keys[layer], values[layer]) = (newKeys, newValues)
            } else {
                keys.append(newKeys)
                values.append(newValues)
            }
        }
        allocated = larger
    }

    /// Stores the keys and values [1, heads, n, headSize] of `layer` at the positions of a slice and returns all of its
    /// sequence, up to the last of them.
    func append(
        layer: Int, slice: DecodingSlice, keys newKeys: Tensor, values newValues: Tensor
    ) throws -> (keys: Tensor, values: Tensor) {
        let count = slice.position + slice.rows.count
        func stored(_ new: Tensor, in buffer: TensorBuffer) throws -> Tensor {
            let slot = try buffer.slices(along: 0, from: slice.slot, count: 1)
            let place = try slot.narrowed(2, from: slice.position, length: slice.rows.count)
            try buffer.write(new, over: place)
            return try slot.narrowed(2, from: 0, length: count)
        }
        return (try stored(newKeys, in: keys[layer]), try stored(newValues, in: values[layer]))
    }

    /// Stores one key and value [rows, heads, headSize] of each of some sequences, and returns the sequences' first
    /// `count` positions [rows, heads, count, headSize].
    func append(
        layer: Int, rows: SingleTokenRows, keys newKeys: Tensor, values newValues: Tensor
    ) throws -> (keys: Tensor, values: Tensor) {
        func stored(_ new: Tensor, in buffer: TensorBuffer) throws -> Tensor {
            try buffer.write(new, slots: rows.slots, positions: rows.positions)
            let all = try buffer.slices(along: 2, from: 0, count: rows.count)
            guard let first = rows.firstSlot else { return try all.selecting(rows.slots, along: 0) }
            return try all.narrowed(0, from: first, length: rows.order.count)
        }
        return (try stored(newKeys, in: keys[layer]), try stored(newValues, in: values[layer]))
    }
}

/// Rows of a pass that are the only new token of their sequences, in the order of their slots.
struct SingleTokenRows {
    /// Their numbers in the pass.
    let order: [Int]
    /// The same, [rows]; nil where they are all rows of the pass in their order.
    let indices: Tensor?
    /// Slots and positions, int64 [rows].
    let slots: Tensor
    let positions: Tensor
    /// The first slot, where the others follow it without a gap.
    let firstSlot: Int?
    /// Positions of the longest sequence, this token included.
    let count: Int
    /// Over these positions.
    let masks: AttentionMasks
}
