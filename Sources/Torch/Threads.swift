import CLibTorch
import Dispatch
import Synchronization

/// Sets how many threads an operation that the calling thread starts may use.
public func setOperationThreads(_ count: Int) { lt_set_threads(Int32(count)) }

/// Throws `CancellationError` once the work of this thread should stop: its task is cancelled, or the task that waits for
/// it in ``concurrentMap(_:workers:threadsPerWorker:_:)``.
public func checkCancellation() throws {
    if lt_is_stopped() { throw CancellationError() }
    try Task.checkCancellation()
}

/// Runs `body` for `0 ..< count`, `workers` at a time, and returns the results in order.
///
/// The calling task's cancellation, and the failure of one of the bodies, stop all of them: ``checkCancellation()`` throws
/// in them, and so does the next fused layer that they pass through, forward or backward.
///
/// - Parameters:
///   - count: Calls of `body`.
///   - workers: Most calls at a time.
///   - threadsPerWorker: Threads inside one operation of a body.
///   - body: Takes the number of the call.
/// - Throws: The error of the first body that failed for a reason of its own, else `CancellationError`.
public func concurrentMap<Result: Sendable>(
    _ count: Int, workers: Int, threadsPerWorker: Int, _ body: @Sendable (Int) throws -> Result
) throws -> [Result] {
    try withUnsafeCurrentTask { task in
        let stop = StopRequest(task)
        let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
        let next = Atomic<Int>(0)
        @Sendable func work() {
            setOperationThreads(threadsPerWorker)
            stop.observed {
                while true {
                    let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                    guard index < count else { return }
                    let result = Swift.Result {
                        try checkCancellation()
                        return try body(index)
                    }
                    results.withLock { $0[index] = result }
                    if case .failure = result { stop.request() }
                }
            }
        }
        if min(workers, count) <= 1 {
            work()
        } else {
            DispatchQueue.concurrentPerform(iterations: min(workers, count)) { _ in work() }
        }
        let finished = results.withLock { $0 }
        let failures = finished.sorted { $0.key < $1.key }.compactMap { _, result in
            if case .failure(let error) = result { error } else { nil }
        }
        if let failure = failures.first(where: { !($0 is CancellationError) }) ?? failures.first { throw failure }
        return try (0..<count).compactMap { try finished[$0]?.get() }
    }
}

/// Runs `body` on this thread so that libtorch's long operations stop once the calling task is cancelled.
///
/// - Parameters:
///   - threadsPerOperation: Threads inside one operation.
///   - body: What to run.
public func withStopTest<Result>(threadsPerOperation: Int, _ body: () throws -> Result) throws -> Result {
    setOperationThreads(threadsPerOperation)
    return try withUnsafeCurrentTask { task in
        var result: Swift.Result<Result, any Error>?
        StopRequest(task).observed { result = Swift.Result { try body() } }
        guard let result else { throw CancellationError() }
        return try result.get()
    }
}

/// Whether the work that a task waits for should stop.
private final class StopRequest: Sendable {
    // Proof of Sendable: "Only APIs on UnsafeCurrentTask that are also part of Task are safe to invoke from a task other
    // than the one that this instance refers to" (its documentation), and `isCancelled` is one. The task outlives this
    // object, which does not leave the closure that lends the task.
    private nonisolated(unsafe) let task: UnsafeCurrentTask?
    private let isRequested = Atomic<Bool>(false)

    init(_ task: UnsafeCurrentTask?) { self.task = task }

    func request() { isRequested.store(true, ordering: .relaxed) }

    /// Runs `body` with this as what the calling thread's stop test asks.
    func observed(_ body: () -> Void) {
        lt_set_stop_test(
            { context in
                guard let context else { return false }
                let stop = Unmanaged<StopRequest>.fromOpaque(context).takeUnretainedValue()
                return stop.isRequested.load(ordering: .relaxed) || stop.task?.isCancelled == true
            }, Unmanaged.passUnretained(self).toOpaque())
        body()
        lt_set_stop_test(nil, nil)
    }
}
