import Foundation
import Synchronization
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

@Suite struct ThreadPoolTests {
    /// Loops of some lengths, one after the other, that each add to every index of a buffer.
    private final class CountingTask: ParallelTask {
        let visits: Buffer<Int>
        let loops: [(count: Int, grain: Int)]
        /// A bit per worker that took part. Atomic and not behind a `Mutex`, which ThreadSanitizer does not see.
        let workers = Atomic<UInt>(0)

        init(loops: [(count: Int, grain: Int)]) throws {
            self.loops = loops
            visits = try Buffer(count: loops.map(\.count).max() ?? 0)
        }

        func run(as worker: ThreadPool.Worker) {
            workers.bitwiseOr(1 << UInt(worker.index), ordering: .relaxed)
            for (number, loop) in loops.enumerated() {
                worker.parallelFor(loop.count, grain: loop.grain) { range in
                    for index in range {
                        // Reads what another worker wrote in the loop before.
                        if number > 0, index < loops[number - 1].count { precondition(visits.pointer[index] > 0) }
                        visits.pointer[index] += 1
                    }
                }
            }
        }
    }

    @Test("Every index of every loop is visited once, whatever the number of threads", arguments: [1, 2, 3, 8])
    func coverage(threads: Int) throws {
        let pool = ThreadPool(threadCount: threads)
        let task = try CountingTask(loops: [(7, 1), (100, 3), (0, 1), (1001, 64), (1, 1), (1001, 1)])
        for round in 1...20 {
            try pool.run(task)
            #expect((0..<1001).allSatisfy { task.visits.pointer[$0] == round * expectedVisits($0, task) })
        }
        let workers = task.workers.load(ordering: .relaxed)
        #expect(workers & 1 == 1 && workers < 1 << UInt(threads))
    }

    private func expectedVisits(_ index: Int, _ task: CountingTask) -> Int {
        task.loops.filter { index < $0.count }.count
    }

    @Test("Thousands of short tasks in a row lose no part and see each other's writes")
    func manyTasks() throws {
        let pool = ThreadPool(threadCount: 3)
        let task = try CountingTask(loops: [(30, 1), (30, 7)])
        for _ in 1...3_000 { try pool.run(task) }
        #expect((0..<30).allSatisfy { task.visits.pointer[$0] == 6_000 })
    }

    /// Waits in every part until both workers are in.
    private final class MeetingTask: ParallelTask {
        let arrived = Atomic<Int>(0)
        func run(as worker: ThreadPool.Worker) {
            worker.parallelFor(2) { _ in
                arrived.add(1, ordering: .sequentiallyConsistent)
                while arrived.load(ordering: .sequentiallyConsistent) % 2 == 1 { sched_yield() }
            }
        }
    }

    @Test("Threads that have gone to sleep wake up for the next task", .timeLimit(.minutes(1)))
    func sleepAndWake() throws {
        let pool = ThreadPool(threadCount: 2)
        let task = MeetingTask()
        for round in 1...3 {
            Thread.sleep(forTimeInterval: 0.02)
            try pool.run(task)
            #expect(task.arrived.load(ordering: .relaxed) == 2 * round)
        }
    }

    @Test("Idle threads sleep", .timeLimit(.minutes(1)))
    func idleThreadsSleep() async throws {
        let pool = ThreadPool(threadCount: 4)
        try pool.run(try CountingTask(loops: [(4, 1)]))
        // However busy the machine is, they stop spinning in the end.
        while pool.sleepingThreads < 3 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(pool.sleepingThreads == 3)
    }

    @Test("Tasks from several threads at once all complete")
    func concurrent() throws {
        let pool = ThreadPool(threadCount: 2)
        let tasks = try (0..<4).map { _ in try CountingTask(loops: [(8, 1), (5, 2)]) }
        let results = Mutex([Bool](repeating: false, count: tasks.count))
        nonisolated(unsafe) let shared = tasks
        DispatchQueue.concurrentPerform(iterations: tasks.count) { index in
            for _ in 0..<200 { try! pool.run(shared[index]) }
            let visits = shared[index].visits.pointer
            results.withLock { $0[index] = visits[0] == 400 && visits[7] == 200 }
        }
        #expect(results.withLock { $0.allSatisfy { $0 } })
    }

    @Test(
        "A cancelled task runs no further parts of loops, on any thread, and the next task runs whole",
        arguments: [1, 2, 4])
    func cancellation(threads: Int) async throws {
        let pool = ThreadPool(threadCount: threads)
        let parts = Atomic<Int>(0)
        let cancelled = Atomic<Bool>(false)
        let task = Task.detached {
            try pool.parallelFor(1000) { range in
                parts.add(range.count, ordering: .relaxed)
                // The first worker, which alone is on the task's thread, cancels it; the others wait for that.
                withUnsafeCurrentTask { $0?.cancel() }
                if !Task.isCancelled {
                    while !cancelled.load(ordering: .relaxed) { sched_yield() }
                    usleep(1000)
                }
                cancelled.store(true, ordering: .relaxed)
            }
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(parts.load(ordering: .relaxed) < 1000)
        let whole = Atomic<Int>(0)
        try pool.parallelFor(1000, grain: 7) { whole.add($0.count, ordering: .relaxed) }
        #expect(whole.load(ordering: .relaxed) == 1000)
    }

    @Test("There is at least one physical core, and no more than processors")
    func physicalCores() {
        #expect((1...ProcessInfo.processInfo.activeProcessorCount).contains(PhysicalCores.count))
    }
}
