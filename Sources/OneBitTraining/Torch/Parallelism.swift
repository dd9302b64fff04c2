import CLibTorch
import Foundation
import Synchronization

/// How the cores are shared out: over the sequences of a batch, or inside each operation.
///
/// A small model's operations are too short to be split: two threads that meet after each of them wait more than they
/// work (libgomp then spends half its time spinning, and all of it on a busy machine). Workers that take a part of the
/// batch each meet once a step. A large model's gradients are too large to be kept once per worker.
public struct Parallelism: Sendable, Hashable, Codable {
    /// Parts of a batch that run side by side.
    public var workers: Int
    /// Threads inside one operation of a worker.
    public var threadsPerWorker: Int

    /// Models with fewer parameters are worked on by several workers.
    static let largestShared = 100_000_000

    /// - Parameters:
    ///   - threads: Threads in all; as many as there are cores where nil.
    ///   - parameters: Parameters of the model.
    public init(threads: Int?, parameters: Int) {
        let threads = max(1, threads ?? ProcessInfo.processInfo.activeProcessorCount)
        let splitsBatches = parameters < Self.largestShared
        workers = splitsBatches ? threads : 1
        threadsPerWorker = splitsBatches ? 1 : threads
    }

    /// Runs `body` for `0 ..< count` side by side and returns the results in order.
    ///
    /// - Throws: The error of the first part that failed.
    func map<Result: Sendable>(_ count: Int, _ body: @Sendable (Int) throws -> Result) throws -> [Result] {
        lt_set_threads(Int32(threadsPerWorker))
        if count == 1 { return [try body(0)] }
        let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
        DispatchQueue.concurrentPerform(iterations: count) { index in
            lt_set_threads(Int32(threadsPerWorker))
            let result = Swift.Result { try body(index) }
            results.withLock { $0[index] = result }
        }
        let finished = results.withLock { $0 }
        return try (0..<count).compactMap { try finished[$0]?.get() }
    }
}
