import Foundation
import Torch

/// Where and how a run computes, as opposed to what: no part of it enters a run's identity.
///
/// A run may be resumed with another execution. With another number of threads the result is the same bit for bit as
/// long as each operation runs on one thread (models of fewer than 100 million parameters); for larger models, and with
/// other micro-batches, sums are taken in another order and last bits differ.
public struct Execution: Sendable {
    /// Threads in all; as many as there are cores where nil.
    public var threads: Int?
    /// Sequences of one forward and backward pass; about 1,024 tokens' worth where nil.
    public var microBatchSize: Int?
    /// How products with sign matrices are computed. Look-ups and products of floats differ in the last bits.
    public var signProducts: SignProducts
    /// Where passes compute.
    public var device: Device
    /// Where what they do not read is kept.
    public var placement: Placement
    /// Bytes of all blocks' activations that a pass keeps at the most. Where they are more it keeps what enters each block, and
    /// computes the rest again on its way back.
    public var keptActivations = Execution.fewActivations
    /// Processes that share the work.
    public var group: ProcessGroup

    public init(
        threads: Int? = nil, microBatchSize: Int? = nil, signProducts: SignProducts = .fastest, device: Device = .cpu,
        placement: Placement = .resident, group: ProcessGroup = .alone
    ) {
        self.group = group
        self.placement = placement
        self.threads = threads
        self.microBatchSize = microBatchSize
        self.signProducts = signProducts
        self.device = device
    }

    static let defaultMicroBatchTokens = 1024
    /// What is kept without asking whether there is room.
    static let fewActivations = 128 << 20

    /// The numbers of a step's sequences, micro-batch by micro-batch. Unless given, the split depends on the batch and the
    /// number of ranks alone: the order in which gradients are added decides their last bits.
    func microBatches(of batchSize: Int, sequenceLength: Int) -> [Range<Int>] {
        let share = (batchSize + group.size - 1) / group.size
        let size = microBatchSize ?? min(share, max(1, Self.defaultMicroBatchTokens / sequenceLength))
        return stride(from: 0, to: batchSize, by: size).map { $0..<min($0 + size, batchSize) }
    }

    /// This rank's micro-batches in a step, one a round: the rank of a sequence follows from its place in the batch. Nil in a
    /// last round for which there are fewer micro-batches than ranks.
    func rounds(of batchSize: Int, sequenceLength: Int) -> [Range<Int>?] {
        let all = microBatches(of: batchSize, sequenceLength: sequenceLength)
        return stride(from: 0, to: all.count, by: group.size).map { first in
            first + group.rank < all.count ? all[first + group.rank] : nil
        }
    }
}

/// Who shares the micro-batches of a step: the threads of this process, or one of them alone.
///
/// A small model's operations are too short to be split: two threads that meet after each of them wait more than they
/// work (libgomp then spends half its time spinning, and all of it on a busy machine). Workers that compute a micro-batch
/// each meet once a step. A large model's gradients are too large to be kept once per worker.
public struct Collective: Sendable, Hashable {
    /// Micro-batches that are computed at once.
    public let workers: Int
    /// Threads inside one operation of a worker.
    public let threadsPerWorker: Int
    /// Whether one worker computes with all threads, and gradients are handed on block by block.
    let isAlone: Bool

    /// Models with fewer parameters are computed by several workers.
    static let largestShared = 100_000_000

    /// One worker, with all threads inside its operations.
    public static func alone(threads: Int) -> Collective {
        Collective(workers: 1, threadsPerWorker: threads, isAlone: true)
    }

    /// Workers of one thread each.
    public static func threads(_ count: Int) -> Collective {
        Collective(workers: count, threadsPerWorker: 1, isAlone: false)
    }

    private init(workers: Int, threadsPerWorker: Int, isAlone: Bool) {
        self.workers = workers
        self.isAlone = isAlone
        self.threadsPerWorker = threadsPerWorker
    }

    /// - Parameters:
    ///   - threads: Threads in all; as many as there are cores where nil.
    ///   - parameters: Parameters of the model.
    ///   - device: Where it computes. A device with a queue of its own is fed by one worker.
    public init(threads: Int?, parameters: Int, device: Device = .cpu) {
        let threads = max(1, threads ?? ProcessInfo.processInfo.activeProcessorCount)
        self = device == .cpu && parameters < Self.largestShared ? .threads(threads) : .alone(threads: threads)
    }

    /// Runs `body` for `0 ..< count`, shared out over the workers, and returns the results in order.
    func map<Result: Sendable>(_ count: Int, _ body: @Sendable (Int) throws -> Result) throws -> [Result] {
        try concurrentMap(count, workers: workers, threadsPerWorker: threadsPerWorker, body)
    }
}
