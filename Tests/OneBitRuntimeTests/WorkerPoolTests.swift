import Foundation
import Synchronization
import Testing

@testable import OneBitRuntime

@Suite struct WorkerPoolTests {
    /// Enough arithmetic per index that a loop is always split.
    private let heavy = 1 << 20

    @Test("Every index is visited once, whatever the number of threads", arguments: [1, 2, 3, 8])
    func coverage(threads: Int) {
        let pool = WorkerPool(threadCount: threads)
        for count in [0, 1, 2, 7, 100, 1001] {
            let visits = Buffer<Int>(count: count)
            let workers = Mutex(Set<Int>())
            pool.run(count: count, operations: heavy) { range, worker in
                for index in range { visits.pointer[index] += 1 }
                workers.withLock { _ = $0.insert(worker) }
            }
            #expect((0..<count).allSatisfy { visits.pointer[$0] == 1 })
            #expect(workers.withLock { $0.count } == min(count, threads))
        }
    }

    @Test("Thousands of short loops in a row lose no part and see each other's writes")
    func manyLoops() {
        let pool = WorkerPool(threadCount: 3)
        let sums = Buffer<Int>(count: 30)
        for round in 1...3_000 {
            pool.run(count: 30, operations: heavy) { range, _ in
                for index in range { sums.pointer[index] += round }
            }
            // Read and written by the calling thread, in between the loops.
            sums.pointer[0] += 1
        }
        #expect(sums.pointer[0] == 3_000 * 3_001 / 2 + 3_000)
        #expect(sums.pointer[29] == 3_000 * 3_001 / 2)
    }

    @Test("Threads that have gone to sleep wake up for the next loop")
    func sleepAndWake() {
        let pool = WorkerPool(threadCount: 2)
        for _ in 0..<3 {
            Thread.sleep(forTimeInterval: 0.02)
            let seen = Atomic<Int>(0)
            pool.run(count: 2, operations: heavy) { range, _ in
                seen.add(range.count, ordering: .relaxed)
                Thread.sleep(forTimeInterval: 0.005)
            }
            #expect(seen.load(ordering: .relaxed) == 2)
        }
    }

    @Test("Idle threads sleep", .timeLimit(.minutes(1)))
    func idleThreadsSleep() async throws {
        let pool = WorkerPool(threadCount: 4)
        pool.run(count: 4, operations: heavy) { _, _ in }
        // However busy the machine is, they stop spinning in the end.
        while pool.sleepingThreads < 3 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(pool.sleepingThreads == 3)
    }

    @Test("Loops from several threads at once, and loops inside loops, all complete")
    func concurrentAndNested() {
        let pool = WorkerPool(threadCount: 2)
        let total = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for _ in 0..<200 {
                pool.run(count: 8, operations: heavy) { range, _ in
                    for _ in range {
                        pool.run(count: 2, operations: heavy) { inner, _ in
                            total.add(inner.count, ordering: .relaxed)
                        }
                    }
                }
            }
        }
        #expect(total.load(ordering: .relaxed) == 4 * 200 * 8 * 2)
    }
}
