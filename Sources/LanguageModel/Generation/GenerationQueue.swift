import Dispatch

/// Where a generation computes: a thread of its own, one task after the other in the order in which they were made.
///
/// Computing takes seconds without a pause. Swift's own threads are as many as there are cores and must not be held up
/// so long, nor may the caller's actor.
package final class GenerationQueue: TaskExecutor {
    private let queue = DispatchQueue(label: "onebit.generation", qos: .userInitiated)

    package init() {}

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
    }

    /// Runs `work` when it is its turn, in the calling task: cancelling that cancels it.
    package func run<Result: Sendable>(_ work: @escaping @Sendable () throws -> Result) async throws -> Result {
        try await withTaskExecutorPreference(self) { try await self.perform(work) }
    }

    /// Asynchronous, so that entering it moves the task to the queue.
    private func perform<Result: Sendable>(_ work: @Sendable () throws -> Result) async throws -> Result {
        dispatchPrecondition(condition: .onQueue(queue))
        return try work()
    }

    /// A stream of what `work` yields. A consumer that leaves it cancels the work.
    func stream<Part: Sendable>(
        _ work: @escaping @Sendable (_ yield: @Sendable (Part) -> Void) throws -> Void
    ) -> AsyncThrowingStream<Part, any Error> {
        AsyncThrowingStream { continuation in
            let task = Task(executorPreference: self) {
                do {
                    try work { continuation.yield($0) }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }
}
