import Foundation
import SignDecomposition
import Synchronization
import Torch

/// A corpus cut into segments of equal length, served in an order that only the seed decides.
///
/// The order is a function of the position, not of a generator that runs along: a resumed run needs nothing but the
/// number of segments served to go on with the very same data.
final class TokenSegments: Sendable {
    /// Tokens per segment.
    let length: Int
    /// Whole segments in the corpus; what is left at the end of each of its streams is dropped.
    let count: Int
    private let assembler: SegmentAssembler
    private let prefetcher: SegmentPrefetcher?

    /// - Parameters:
    ///   - tokens: What is cut.
    ///   - length: Tokens per segment.
    ///   - seed: Decides the order.
    ///   - batchSize: Segments of a step: while one is computed, a thread makes the ids of the next. Nil for no thread.
    /// - Throws: ``TrainingError/corpusTooShort(tokens:segment:)`` where a stream has not one segment, and what
    ///   ``MixtureOrder/init(shares:seed:)`` throws.
    init(tokens: TrainingCorpus, length: Int, seed: UInt64, prefetching batchSize: Int? = nil) throws {
        for part in tokens.parts where part.tokens.count < length {
            throw TrainingError.corpusTooShort(tokens: part.tokens.count, segment: length)
        }
        self.length = length
        let assembler = SegmentAssembler(
            parts: tokens.parts.enumerated().map { index, part in
                // The first part's seed is the run's own: a corpus of one file has the order that it always had.
                ShuffledStream(part.tokens, length: length, seed: seed &+ UInt64(index) &* 0xA076_1D64_78BD_642F)
            },
            order: try MixtureOrder(shares: tokens.shares, seed: seed), length: length)
        count = assembler.parts.reduce(0) { $0 + $1.count }
        self.assembler = assembler
        prefetcher = batchSize.map { SegmentPrefetcher(assembler, batchSize: $0) }
    }

    deinit { prefetcher?.close() }

    /// Segments `start ..< start + batch` of the endless sequence, [batch, length].
    ///
    /// - Throws: ``TrainingError/damagedTokenFile(file:reason:)``.
    func batch(from start: Int, count batch: Int, device: Device = .cpu) throws -> Tensor {
        let range = start..<start + batch
        let ids = try prefetcher?.ids(of: range) ?? assembler.ids(of: range)
        return try .integers(ids, shape: [batch, length], device: device)
    }

    /// Whether a thread has made the ids of a step, counted from 0.
    func hasPrefetched(step: Int) -> Bool { prefetcher?.isReady(step) == true }

    /// Whether the thread lives, for tests.
    var prefetchingThread: AnyObject? { prefetcher }
}

/// Segments of one stream, epoch by epoch in a new order.
private final class ShuffledStream: Sendable {
    let count: Int
    private let tokens: any TokenStream
    private let length: Int
    private let seed: UInt64
    /// Orders of the last epochs asked for: making one takes as long as the stream has segments.
    private let orders = Mutex<[(epoch: Int, order: [Int])]>([])

    init(_ tokens: any TokenStream, length: Int, seed: UInt64) {
        self.tokens = tokens
        self.length = length
        self.seed = seed
        count = tokens.count / length
    }

    /// Appends the ids of a segment of the endless sequence of epochs.
    func append(_ position: Int, to ids: inout [Int]) throws {
        let segment = order(ofEpoch: position / count)[position % count]
        try tokens.forEach(in: segment * length..<(segment + 1) * length) { ids.append($0) }
    }

    private func order(ofEpoch epoch: Int) -> [Int] {
        orders.withLock { orders in
            if let known = orders.first(where: { $0.epoch == epoch }) { return known.order }
            var generator = SplitMix64(seed: seed &+ UInt64(epoch) &* 0x9E37_79B9_7F4A_7C15)
            let order = (0..<count).shuffled(using: &generator)
            // Two: where one epoch ends, batches and the thread that runs ahead of them want both.
            orders = orders.suffix(1) + [(epoch, order)]
            return order
        }
    }
}

/// Makes the ids of any positions.
private struct SegmentAssembler: Sendable {
    let parts: [ShuffledStream]
    let order: MixtureOrder
    let length: Int

    func ids(of range: Range<Int>) throws -> [Int] {
        var ids: [Int] = []
        ids.reserveCapacity(range.count * length)
        for (part, position) in order.places(range) { try parts[part].append(position, to: &ids) }
        return ids
    }
}

/// A thread that makes the ids of the step after the one that was last asked for: reading them may mean waiting for a disk.
///
/// What it has not finished, the one who asks makes for itself: the ids are the same.
private final class SegmentPrefetcher: Sendable {
    private struct State {
        var ready: [Int: [Int]] = [:]
        var wanted: Int?
        var isClosed = false
    }

    private let assembler: SegmentAssembler
    private let batchSize: Int
    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)

    init(_ assembler: SegmentAssembler, batchSize: Int) {
        self.assembler = assembler
        self.batchSize = batchSize
        // The thread keeps this object until `close`, which its owner calls at its end.
        Thread.detachNewThread { self.work() }
    }

    /// Ends the thread.
    func close() {
        state.withLock { $0.isClosed = true }
        wake.signal()
    }

    func isReady(_ step: Int) -> Bool { state.withLock { $0.ready[step] != nil } }

    /// Ids of segments of one step, if they are there; asks for those of the next.
    func ids(of range: Range<Int>) -> [Int]? {
        let step = range.lowerBound / batchSize
        let length = assembler.length
        let (ids, isNew) = state.withLock { state in
            let isNew = state.wanted != step + 1
            state.wanted = step + 1
            return (state.ready[step], isNew)
        }
        if isNew { wake.signal() }
        let first = (range.lowerBound - step * batchSize) * length
        guard let ids, first + range.count * length <= ids.count else { return nil }
        return Array(ids[first..<first + range.count * length])
    }

    private func work() {
        while true {
            wake.wait()
            let (step, isClosed) = state.withLock { ($0.wanted, $0.isClosed) }
            if isClosed { return }
            guard let step, !isReady(step) else { continue }
            // An error appears again, to the one who asks.
            let ids = try? assembler.ids(of: step * batchSize..<(step + 1) * batchSize)
            state.withLock { state in
                // The step that is being computed stays: not all of its micro-batches may have been asked for.
                state.ready = state.ready.filter { $0.key == step - 1 }
                state.ready[step] = ids
            }
        }
    }
}
