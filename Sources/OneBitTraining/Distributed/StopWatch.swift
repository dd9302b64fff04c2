import Foundation
import Synchronization
import Torch

extension ProcessGroup {
    /// Runs `body` and cancels the current task once another rank has asked all to stop, or the store is gone: a rank that
    /// computes learns of it within half a second, not only when it next waits for the others.
    func watchingForStops<Result>(_ body: () throws -> Result) throws -> Result {
        guard size > 1 else { return try body() }
        return try withUnsafeCurrentTask { task in
            let watch = StopWatch(task)
            let ended = DispatchSemaphore(value: 0)
            Thread.detachNewThread { [self] in
                while !watch.isDone {
                    usleep(250_000)
                    do {
                        if let stop = try postedStop(), concerns(stop) { watch.cancel() }
                    } catch {
                        // The rank that serves the store has ended.
                        watch.cancel()
                    }
                }
                ended.signal()
            }
            defer {
                watch.finish()
                ended.wait()
            }
            return try body()
        }
    }
}

/// The task that a thread may cancel, as long as it runs what is watched.
private final class StopWatch: Sendable {
    // Proof of Sendable: "Only APIs on UnsafeCurrentTask that are also part of Task are safe to invoke from a task other
    // than the one that this instance refers to" (its documentation), and `cancel` is one. The thread that uses it ends
    // before the closure that lends the task.
    private nonisolated(unsafe) let task: UnsafeCurrentTask?
    private let done = Atomic<Bool>(false)

    init(_ task: UnsafeCurrentTask?) { self.task = task }

    var isDone: Bool { done.load(ordering: .relaxed) }
    func finish() { done.store(true, ordering: .relaxed) }
    func cancel() { task?.cancel() }
}
