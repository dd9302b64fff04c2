import Dispatch

/// Runs its tasks one after the other, on a thread that is not one of Swift's.
///
/// Computing takes seconds without a pause. Swift's own threads are as many as there are cores and must not be blocked
/// so long, nor may the caller's actor.
package final class SerialTaskExecutor: TaskExecutor {
    private let queue = DispatchQueue(label: "onebit.compute", qos: .userInitiated)

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
}
