import CSignKernels
import Foundation
import Synchronization

/// Work that all threads of a team walk through together, each calling ``Team/Member/forEach(_:grain:_:)`` for the same
/// loops in the same order.
protocol TeamTask: AnyObject {
    func run(as member: inout Team.Member)
}

/// Threads that walk through a task together and sleep between tasks.
///
/// A loop is cut into parts that the members claim as they come, so a thread that the system has taken off its core
/// holds up no more than the part it has begun. Who computes a part never changes what is computed. Entering and leaving
/// a loop costs a few hundred nanoseconds and allocates nothing.
final class Team: Sendable {
    /// Threads that share a task, the calling one included.
    let threadCount: Int
    private let rendezvous: Rendezvous

    init(threadCount: Int) {
        self.threadCount = max(1, threadCount)
        rendezvous = Rendezvous()
        for index in 1..<self.threadCount {
            // The thread holds the rendezvous and not the team, so the team can go away and end it.
            let thread = Thread { [rendezvous] in rendezvous.work(as: index) }
            thread.name = "onebit worker \(index)"
            thread.start()
        }
    }

    deinit { rendezvous.stop() }

    /// Workers that sleep at this moment.
    var sleepingThreads: Int { rendezvous.sleepingThreads }

    /// Runs `task` to its end, on all threads or, with `alone` or when another task has them, on the calling one.
    func run(_ task: some TeamTask, alone: Bool = false) {
        guard threadCount > 1, !alone, rendezvous.enter() else {
            var member = Member(index: 0, rendezvous: nil)
            task.run(as: &member)
            return
        }
        rendezvous.run(task)
        rendezvous.leave()
    }

    /// One thread's place in a task.
    struct Member: ~Copyable {
        /// Below the team's `threadCount`; says which scratch memory is this thread's.
        let index: Int
        /// nil when the task has one thread.
        fileprivate let rendezvous: Rendezvous?
        /// Number of the next loop's first part, counted over the whole task.
        private var base = 0

        fileprivate init(index: Int, rendezvous: Rendezvous?) {
            self.index = index
            self.rendezvous = rendezvous
        }

        /// Calls `body` on ranges that together are `0..<count`, on whichever member claims them; returns when all
        /// of them are done.
        ///
        /// - Parameters:
        ///   - grain: indices of a part.
        ///   - body: must write only what belongs to its range and to this member.
        mutating func forEach(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
            guard let rendezvous else {
                if count > 0 { body(0..<count) }
                return
            }
            let end = base + (count + grain - 1) / grain
            while let part = rendezvous.claim(below: end) {
                let first = (part - base) * grain
                body(first..<min(first + grain, count))
                rendezvous.complete()
            }
            rendezvous.waitForCompletion(of: end)
            base = end
        }

        /// Calls `body` on one member; the others wait.
        mutating func once(_ body: () -> Void) {
            forEach(1) { _ in body() }
        }
    }
}

/// Where a team's threads meet.
///
/// `task` is the only unguarded state. The caller writes it while no worker is inside: before it opens a task, which
/// a worker reads (acquiring) before it reads `task`, and after it has closed the task and the count of workers inside
/// has fallen to zero, which a worker lowers (releasing) after its last use.
///
/// The parts of all loops of a task are numbered through. `next` is the lowest that is not claimed, `completed` counts
/// those that are done. A member leaves a loop when `completed` has reached the loop's end; one that comes late finds
/// that it has, and passes through the loops that the others have done without it.
// Unchecked because of `task`, for the reason above.
private final class Rendezvous: @unchecked Sendable {
    /// Turns of a waiting loop before a thread lets others run: some tens of microseconds.
    private static let spins = 2_000

    private var task: (any TeamTask)?
    private let next = Atomic<Int>(0)
    // `next` and `completed` on cache lines of their own: every member writes both.
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

    private let isStopping = Atomic<Bool>(false)
    private let isTaken = Atomic<Bool>(false)
    /// Threads in, or on the way to, `condition.wait()`.
    private let sleepers = Atomic<Int>(0)
    private let condition = NSCondition()

    var sleepingThreads: Int { sleepers.load(ordering: .relaxed) }

    /// Takes the workers, unless another task has them.
    func enter() -> Bool {
        isTaken.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged
    }

    func leave() { isTaken.store(false, ordering: .releasing) }

    func run(_ task: some TeamTask) {
        self.task = task
        next.store(0, ordering: .relaxed)
        completed.store(0, ordering: .relaxed)
        let number = state.load(ordering: .relaxed) >> Self.numberShift + 1
        state.store(number << Self.numberShift | Self.open, ordering: .sequentiallyConsistent)
        wake()
        var member = Team.Member(index: 0, rendezvous: self)
        task.run(as: &member)
        state.bitwiseAnd(~Self.open, ordering: .sequentiallyConsistent)
        wait { state.load(ordering: .sequentiallyConsistent) & Self.insideMask == 0 }
        self.task = nil
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
            // More threads than cores: the one that holds the last part needs this core.
            sched_yield()
        }
    }

    /// In a function of its own, so that the worker has let go of the task when it reports back.
    @inline(never)
    private func runTask(as index: Int) {
        var member = Team.Member(index: index, rendezvous: self)
        task?.run(as: &member)
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
