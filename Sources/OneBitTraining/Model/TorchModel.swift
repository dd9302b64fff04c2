import LanguageModel
import ModelDescription
import TensorFiles
import Torch

/// Teacher or float student as a `CausalLanguageModel`, for evaluation and generation.
public final class TorchModel: HiddenStateModel {
    public let model: Transformer
    public var configuration: ModelConfiguration { model.configuration }

    /// Threads inside one operation; nil is libtorch's own choice.
    private let threads: Int?
    /// How requests for scores are shared out.
    let collective: Collective

    /// - Parameters:
    ///   - model: The weights.
    ///   - threads: Threads in all; where nil, as many as there are cores, but one for the single sequence of a model that
    ///     is too small to share.
    public init(_ model: Transformer, threads: Int? = nil) {
        self.model = model
        let parameters = model.configuration.parameterCount
        self.threads = threads ?? (parameters < Collective.largestShared ? 1 : nil)
        collective = Collective(threads: threads, parameters: parameters, device: model.device)
    }

    /// Reads a dense model or a float student.
    public convenience init(checkpoint: Checkpoint, threads: Int?, device: Device = .cpu) throws {
        self.init(try Transformer(checkpoint: checkpoint, device: device), threads: threads)
    }

    public func logits(of tokens: [Int]) throws -> [Float] {
        try check(tokens)
        return try pass { try model(try input(tokens)).logits.floats() }
    }

    public func states(of tokens: [Int]) throws -> ModelStates {
        try check(tokens)
        return try pass {
            var kept: [Tensor] = []
            let x = try model.residual(
                input(tokens), at: model.positions(length: tokens.count), observe: { kept.append($0) })
            let last = try model.headInput(x)
            return ModelStates(
                logits: try model.logits(of: last).floats(), hiddenStates: try (kept + [last]).map { try $0.floats() })
        }
    }

    public func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        TorchDecodingContext(self, limits: limits)
    }

    func input(_ tokens: [Int]) throws -> Tensor {
        try .integers(tokens, shape: [1, tokens.count], device: model.device)
    }

    /// Runs `body` with this model's threads, and without a backward pass to come.
    func pass<Result>(_ body: () throws -> Result) throws -> Result {
        if let threads { setOperationThreads(threads) }
        return try withoutGradient(body)
    }
}

/// Sequences with keys and values of their own. The linear layers read all rows of a batch at once; attention goes sequence
/// by sequence.
private final class TorchDecodingContext: DecodingContext {
    let limits: DecodingLimits
    private let model: TorchModel
    private var caches: [KeyValueCache?]
    /// Of the last batch's wanted rows.
    private var logits: [Float] = []

    init(_ model: TorchModel, limits: DecodingLimits) {
        self.model = model
        self.limits = limits
        caches = Array(repeating: nil, count: limits.sequences)
    }

    func makeSequence(capacity: Int) throws -> SequenceID {
        guard let slot = caches.firstIndex(where: { $0 == nil }) else {
            throw LanguageModelError.tooManySequences(maximum: limits.sequences)
        }
        let maximum = min(limits.positions, model.configuration.maximumPositions)
        guard capacity <= maximum else { throw LanguageModelError.contextExceeded(tokens: capacity, maximum: maximum) }
        try AvailableMemory.require(
            model.cacheByteCount(positions: capacity), for: "The key/value cache of \(capacity) positions")
        caches[slot] = try model.model.makeCache(capacity: capacity)
        return SequenceID(index: slot)
    }

    func removeSequence(_ id: SequenceID) { caches[id.index] = nil }

    func length(of id: SequenceID) -> Int { cache(id)?.length ?? 0 }

    func truncate(_ id: SequenceID, to length: Int) { cache(id)?.truncate(to: length) }

    func decode(_ batch: TokenBatch) throws {
        let vocabulary = model.configuration.vocabularySize
        try batch.validate(limits, vocabularySize: vocabulary) { id in
            self.cache(id).map { ($0.length, $0.capacity) }
        }
        logits.removeAll(keepingCapacity: true)
        let slices = batch.slices.compactMap { slice in
            cache(slice.sequence).map {
                DecodingSlice(cache: $0, rows: slice.rows, sequenceLength: slice.sequenceLength)
            }
        }
        let wanted = batch.slices.flatMap(\.wantedRows)
        let found = try model.pass {
            let model = model.model
            let x = try model.residual(self.model.input(batch.tokens), at: model.positions(of: slices))  // [1, R, C]
            guard !wanted.isEmpty else { return [Float]() }
            let rows = try x.selecting(.integers(wanted, shape: [wanted.count], device: model.device), along: 1)
            return try model.logits(of: model.headInput(rows)).floats()
        }
        for slice in slices { slice.cache.advance(by: slice.rows.count) }
        if let index = found.firstIndex(where: { !$0.isFinite }) {
            let row = wanted[index / vocabulary]
            let position = zip(batch.slices, slices).first { $0.0.rows.contains(row) }
                .map { $1.cache.length - $0.rows.upperBound + row }
            throw LanguageModelError.nonFiniteLogits(position: position ?? row)
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

    private func cache(_ id: SequenceID) -> KeyValueCache? {
        caches.indices.contains(id.index) ? caches[id.index] : nil
    }
}

/// Keys and values of the tokens of one sequence that were read so far.
///
/// Memory follows the length: the buffers double as they fill, up to the capacity. Used from one thread at a time; what
/// ``append(layer:keys:values:)`` returns is read in the same pass only.
final class KeyValueCache {
    /// Tokens that are stored.
    private(set) var length = 0
    /// Most tokens.
    let capacity: Int
    /// [1, heads, allocated, headSize] per layer.
    private var keys: [TensorBuffer]
    private var values: [TensorBuffer]
    private var allocated: Int
    private let dtype: DType
    private let device: Device

    private static let firstAllocation = 64

    init(
        layers: Int, heads: Int, headSize: Int, capacity: Int, dtype: DType = .float32, device: Device = .cpu
    ) throws {
        self.capacity = capacity
        self.dtype = dtype
        self.device = device
        let positions = min(capacity, Self.firstAllocation)
        allocated = positions
        let shape = [1, heads, positions, headSize]
        keys = try (0..<layers).map { _ in try TensorBuffer(shape, dtype: dtype, device: device) }
        values = try (0..<layers).map { _ in try TensorBuffer(shape, dtype: dtype, device: device) }
    }

    /// Makes sure that there is room for `count` more tokens, before a pass appends them layer by layer.
    func reserve(_ count: Int) throws {
        let needed = length + count
        guard needed > allocated else { return }
        precondition(needed <= capacity, "\(needed) tokens in a cache of \(capacity)")
        try reallocate(positions: min(capacity, max(needed, 2 * allocated)))
    }

    /// Stores the keys and values [1, heads, n, headSize] of `layer` behind the ones there and returns all of them.
    func append(layer: Int, keys newKeys: Tensor, values newValues: Tensor) throws -> (keys: Tensor, values: Tensor) {
        try keys[layer].write(newKeys, along: 2, from: length)
        try values[layer].write(newValues, along: 2, from: length)
        let count = length + newKeys.shape[2]
        return (
            try keys[layer].slices(along: 2, from: 0, count: count),
            try values[layer].slices(along: 2, from: 0, count: count)
        )
    }

    /// Counts `count` tokens as stored, after every layer has appended theirs.
    func advance(by count: Int) { length += count }

    /// Forgets the tokens from `length` on.
    func truncate(to length: Int) { self.length = min(self.length, max(0, length)) }

    /// Moves what is stored into larger buffers.
    private func reallocate(positions: Int) throws {
        func moved(_ buffer: TensorBuffer) throws -> TensorBuffer {
            let shape = buffer.shape
            let larger = try TensorBuffer([shape[0], shape[1], positions, shape[3]], dtype: dtype, device: device)
            if length > 0 { try larger.write(buffer.slices(along: 2, from: 0, count: length), along: 2, from: 0) }
            return larger
        }
        for layer in keys.indices {
            keys[layer] = try moved(keys[layer])
            values[layer] = try moved(values[layer])
        }
        allocated = positions
    }
}
