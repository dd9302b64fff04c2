import CSignKernels
import Foundation
import Synchronization

/// Threads that run one loop together and sleep in between.
///
/// A loop is cut into one part per thread, by position alone, so who computes what never depends on timing. A thread
/// that waits spins for some microseconds first, since the next loop of a forward pass is usually that near, and then
/// sleeps. The calling thread works on the first part.
final class WorkerPool: Sendable {
    /// Threads that share a loop, the calling one included.
    let threadCount: Int
    private let region: Region

    /// Fewest operations (additions, multiplications) that are worth a thread's waking.
    private static let operationsPerPart = 1 << 17

    init(threadCount: Int) {
        self.threadCount = max(1, threadCount)
        region = Region()
        for worker in 1..<self.threadCount {
            // The thread holds the region and not the pool, so the pool can go away and end it.
            let thread = Thread { [region] in region.work(as: worker) }
            thread.name = "onebit worker \(worker)"
            thread.start()
        }
    }

    deinit { region.stop() }

    /// Calls `body` on ranges that together are `0..<count`, at the same time and on different threads where that pays.
    ///
    /// - Parameters:
    ///   - operations: how much arithmetic one index is.
    ///   - body: takes a range and the number of the thread, below `threadCount`, that it may use scratch memory of.
    ///     Must write only what belongs to the range. May call `run` itself, which then doesn't split further.
    func run(count: Int, operations: Int, _ body: (_ range: Range<Int>, _ worker: Int) -> Void) {
        let worthwhile = max(1, count.multipliedReportingOverflow(by: operations).partialValue / Self.operationsPerPart)
        let parts = min(threadCount, count, worthwhile)
        // Another sequence's loop may be running: then this one doesn't wait for the threads but does without them.
        guard parts > 1, region.enter() else {
            if count > 0 { body(0..<count, 0) }
            return
        }
        withoutActuallyEscaping(body) { body in
            region.run(Region.Loop(count: count, parts: parts, body: body), workers: threadCount - 1)
        }
        region.leave()
    }
}

/// The meeting place of a pool's threads.
///
/// `loop` is the only unguarded state. The caller writes it while no worker is inside: before it raises `generation`,
/// which every worker reads before it reads `loop`, and after `pending` has fallen to zero, which every worker lowers
/// after its last use. Both are release/acquire pairs, so writes and reads of `loop` never meet.
// Unchecked because of `loop`, for the reason above.
private final class Region: @unchecked Sendable {
    struct Loop {
        let count: Int
        let parts: Int
        let body: (Range<Int>, Int) -> Void

        func run(part: Int) {
            guard part < parts else { return }
            body(count * part / parts..<count * (part + 1) / parts, part)
        }
    }

    /// Turns of a waiting loop before a thread sleeps: some tens of microseconds.
    private static let spins = 4_000

    private var loop: Loop?
    /// Number of the loop that the workers should run next.
    private let generation = Atomic<Int>(0)
    /// Workers that have not finished the loop yet.
    private let pending = Atomic<Int>(0)
    private let isStopping = Atomic<Bool>(false)
    private let isTaken = Atomic<Bool>(false)
    /// Threads in, or on the way to, `condition.wait()`.
    private let sleepers = Atomic<Int>(0)
    private let condition = NSCondition()

    /// Takes the workers, unless another loop has them.
    func enter() -> Bool {
        isTaken.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged
    }

    func leave() { isTaken.store(false, ordering: .releasing) }

    func run(_ loop: Loop, workers: Int) {
        self.loop = loop
        pending.store(workers, ordering: .relaxed)
        generation.add(1, ordering: .sequentiallyConsistent)
        wake()
        loop.run(part: 0)
        wait { pending.load(ordering: .sequentiallyConsistent) == 0 }
        self.loop = nil
    }

    func work(as worker: Int) {
        var seen = 0
        while true {
            wait { generation.load(ordering: .sequentiallyConsistent) != seen }
            if isStopping.load(ordering: .relaxed) { return }
            seen += 1
            runPart(worker)
            if pending.subtract(1, ordering: .sequentiallyConsistent).newValue == 0 { wake() }
        }
    }

    func stop() {
        isStopping.store(true, ordering: .relaxed)
        generation.add(1, ordering: .sequentiallyConsistent)
        wake()
    }

    /// In a function of its own, so that the worker has let go of the caller's closure when it reports back.
    @inline(never)
    private func runPart(_ worker: Int) { loop?.run(part: worker) }

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
