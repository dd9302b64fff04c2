import CSignKernels
import Foundation
import Synchronization

/// Work that all workers of a thread pool walk through together, each calling ``ThreadPool/Worker/parallelFor(_:grain:_:)``
/// for the same loops in the same order.
protocol ParallelTask: AnyObject {
    func run(as worker: ThreadPool.Worker)
}

/// Threads that walk through a task together and sleep between tasks.
///
/// A loop is cut into parts that the workers claim one at a time, so a thread that the system has taken off its core
/// delays no more than the part that it has begun. Which worker computes a part never changes what is computed. Entering
/// and leaving a loop costs a few hundred nanoseconds and allocates nothing.
final class ThreadPool: Sendable {
    /// Threads that share a task, the calling one included.
    let threadCount: Int
    private let barrier: Barrier

    init(threadCount: Int) {
        self.threadCount = max(1, threadCount)
        barrier = Barrier(threadCount: self.threadCount)
        for index in 1..<self.threadCount {
            // The thread holds the barrier and not the pool, so that the pool's deinit can end it.
            let thread = Thread { [barrier] in barrier.work(as: index) }
            thread.name = "onebit worker \(index)"
            thread.start()
        }
    }

    deinit { barrier.stop() }

    /// Workers that sleep at this moment.
    var sleepingThreads: Int { barrier.sleepingThreads }

    /// Runs a task on all threads; on the calling one alone while another task has them.
    ///
    /// - Throws: `CancellationError` when the Swift task of the caller is cancelled. The parts of loops that were not
    ///   begun are then left out; nothing of the task's results may be used.
    func run(_ task: some ParallelTask) throws {
        if threadCount > 1, barrier.enter() {
            defer { barrier.leave() }
            guard barrier.run(task) else { throw CancellationError() }
        } else {
            Worker.run(task, index: 0, loops: .cancellable)
            try Task.checkCancellation()
        }
    }

    /// Runs a task on the calling thread, to its end: what is over sooner than several threads would meet.
    func runAlone(_ task: some ParallelTask) { Worker.run(task, index: 0, loops: .whole) }

    /// Calls `body` on ranges that together are `0..<count`, on all threads.
    ///
    /// - Throws: as `run(_:)`.
    func parallelFor(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) throws {
        try withoutActuallyEscaping(body) { try run(LoopTask(count: count, grain: grain, body: $0)) }
    }

    /// One thread's part in a task. Valid while the task runs.
    struct Worker {
        fileprivate enum Loops {
            /// Shared with other workers.
            case shared(Barrier)
            /// In some pieces, with a look at the task's cancellation before each.
            case cancellable
            /// In one piece.
            case whole
        }

        private static let cancellablePieces = 16

        /// Below the pool's `threadCount`; says which scratch memory is this thread's.
        let index: Int
        /// Workers that share the task's loops.
        var threadCount: Int { if case .shared(let barrier) = loops { barrier.threadCount } else { 1 } }
        private let loops: Loops
        /// Number of the next loop's first part, counted over the whole task; on the stack of `run(_:index:loops:)`.
        private let nextPart: UnsafeMutablePointer<Int>

        fileprivate static func run(_ task: some ParallelTask, index: Int, loops: Loops) {
            var nextPart = 0
            withUnsafeMutablePointer(to: &nextPart) {
                task.run(as: Worker(index: index, loops: loops, nextPart: $0))
            }
        }

        /// Calls `body` on ranges that together are `0..<count`, on whichever worker claims them; returns when all of
        /// them are done.
        ///
        /// - Parameters:
        ///   - grain: indices of a part.
        ///   - body: must write only what belongs to its range and to this worker.
        func parallelFor(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
            switch loops {
            case .whole:
                if count > 0 { body(0..<count) }
            case .cancellable:
                let step = max(grain, (count + Self.cancellablePieces - 1) / Self.cancellablePieces)
                for first in stride(from: 0, to: count, by: step) where !Task.isCancelled {
                    body(first..<min(first + step, count))
                }
            case .shared(let barrier):
                let base = nextPart.pointee
                let end = base + (count + grain - 1) / grain
                while let part = barrier.claim(below: end) {
                    let first = (part - base) * grain
                    if !barrier.isCancelled(worker: index) { body(first..<min(first + grain, count)) }
                    barrier.complete()
                }
                barrier.waitForCompletion(of: end)
                nextPart.pointee = end
            }
        }
    }
}

/// One loop.
private final class LoopTask: ParallelTask {
    private let count: Int
    private let grain: Int
    private let body: (Range<Int>) -> Void

    init(count: Int, grain: Int, body: @escaping (Range<Int>) -> Void) {
        self.count = count
        self.grain = grain
        self.body = body
    }

    func run(as worker: ThreadPool.Worker) { worker.parallelFor(count, grain: grain, body) }
}

/// Where a pool's threads meet: at the start of a task, at the end of every loop, at the end of the task.
///
/// `task` is the only unguarded state. The caller writes it while no worker is inside: before it opens a task, which
/// a worker reads (acquiring) before it reads `task`, and after it has closed the task and the count of workers inside
/// has fallen to zero, which a worker lowers (releasing) after its last use.
///
/// The parts of all loops of a task are numbered through. `next` is the lowest that is not claimed, `completed` counts
/// those that are done. A worker leaves a loop when `completed` has reached the loop's end; one that comes late finds
/// that it has, and passes through the loops that the others have done without it.
// Unchecked because of `task`, for the reason above.
private final class Barrier: @unchecked Sendable {
    /// Iterations of a waiting loop before a thread yields its core: some tens of microseconds.
    private static let spins = 2_000

    let threadCount: Int
    private var task: (any ParallelTask)?
    private let next = Atomic<Int>(0)
    // `next` and `completed` on cache lines of their own: every worker writes both.
    private let padding1: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let padding2: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let completed = Atomic<Int>(0)
    private let padding3: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)
    private let padding4: (Int, Int, Int, Int, Int, Int, Int, Int) = (0, 0, 0, 0, 0, 0, 0, 0)

    /// Number of the task << 17 | open << 16 | workers inside.
    private let state = Atomic<UInt64>(0)
    private static let open: UInt64 = 1 << 16
    private static let insideMask: UInt64 = open - 1
    private static let numberShift: UInt64 = 17

    /// Whether the caller's Swift task was found cancelled. Its thread alone can ask; the workers read the answer here.
    /// It only says that results will not be used, so it orders nothing.
    private let isTaskCancelled = Atomic<Bool>(false)
    private let isStopping = Atomic<Bool>(false)
    private let isTaken = Atomic<Bool>(false)
    /// Threads in, or on the way to, `condition.wait()`.
    private let sleepers = Atomic<Int>(0)
    private let condition = NSCondition()

    init(threadCount: Int) { self.threadCount = threadCount }

    var sleepingThreads: Int { sleepers.load(ordering: .relaxed) }

    /// Takes the workers, unless another task has them.
    func enter() -> Bool {
        isTaken.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged
    }

    func leave() { isTaken.store(false, ordering: .releasing) }

    /// Whether the task was computed to its end; if not it was cancelled.
    func run(_ task: some ParallelTask) -> Bool {
        self.task = task
        next.store(0, ordering: .relaxed)
        completed.store(0, ordering: .relaxed)
        isTaskCancelled.store(false, ordering: .relaxed)
        let number = state.load(ordering: .relaxed) >> Self.numberShift + 1
        state.store(number << Self.numberShift | Self.open, ordering: .sequentiallyConsistent)
        wake()
        ThreadPool.Worker.run(task, index: 0, loops: .shared(self))
        state.bitwiseAnd(~Self.open, ordering: .sequentiallyConsistent)
        wait { state.load(ordering: .sequentiallyConsistent) & Self.insideMask == 0 }
        self.task = nil
        return !isTaskCancelled.load(ordering: .relaxed)
    }

    func work(as index: Int) {
        var seen: UInt64 = 0
        while true {
            wait { state.load(ordering: .sequentiallyConsistent) >> Self.numberShift != seen }
            if isStopping.load(ordering: .relaxed) { return }
            var found = state.load(ordering: .acquiring)
            seen = found >> Self.numberShift
            while found & Self.open != 0, found >> Self.numberShift == seen {
                let exchange = state.weakCompareExchange(
                    expected: found, desired: found + 1, ordering: .acquiringAndReleasing)
                if exchange.exchanged {
                    runTask(as: index)
                    state.subtract(1, ordering: .sequentiallyConsistent)
                    wake()
                    break
                }
                found = exchange.original
            }
        }
    }

    func stop() {
        isStopping.store(true, ordering: .relaxed)
        state.add(1 << Self.numberShift, ordering: .sequentiallyConsistent)
        wake()
    }

    /// The next part, if it is below `end`.
    func claim(below end: Int) -> Int? {
        var found = next.load(ordering: .relaxed)
        while found < end {
            let exchange = next.weakCompareExchange(expected: found, desired: found + 1, ordering: .relaxed)
            if exchange.exchanged { return found }
            found = exchange.original
        }
        return nil
    }

    func complete() { completed.add(1, ordering: .releasing) }

    func waitForCompletion(of end: Int) {
        while true {
            for _ in 0..<Self.spins {
                if completed.load(ordering: .acquiring) >= end { return }
                sign_kernels_spin_hint()
            }
            // More threads than cores: the one that has the last part needs this core.
            sched_yield()
        }
    }

    /// Whether what is left of the task is to be passed over.
    func isCancelled(worker: Int) -> Bool {
        if worker == 0, Task.isCancelled { isTaskCancelled.store(true, ordering: .relaxed) }
        return isTaskCancelled.load(ordering: .relaxed)
    }

    /// In a function of its own, so that the worker has released the task when it reports back.
    @inline(never)
    private func runTask(as index: Int) {
        if let task { ThreadPool.Worker.run(task, index: index, loops: .shared(self)) }
    }

    /// Returns once `isReady`, which reads an atomic that is changed before ``wake()`` is called.
    ///
    /// A sleeper counts itself, then asks; a waker changes the atomic, then counts sleepers. All sequentially
    /// consistent, so one of them sees the other. The lock is held from the question to the wait, so a wake-up cannot
    /// fall between.
    private func wait(until isReady: () -> Bool) {
        for _ in 0..<Self.spins {
            if isReady() { return }
            sign_kernels_spin_hint()
        }
        condition.lock()
        sleepers.add(1, ordering: .sequentiallyConsistent)
        while !isReady() { condition.wait() }
        sleepers.subtract(1, ordering: .sequentiallyConsistent)
        condition.unlock()
    }

    private func wake() {
        guard sleepers.load(ordering: .sequentiallyConsistent) > 0 else { return }
        condition.lock()
        condition.broadcast()
        condition.unlock()
    }
}
