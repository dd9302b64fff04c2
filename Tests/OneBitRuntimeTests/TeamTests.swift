import Foundation
import Synchronization
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

@Suite struct TeamTests {
    /// Loops of some lengths, one after the other, that each add to every index of a buffer.
    private final class CountingTask: TeamTask {
        let visits: Buffer<Int>
        let loops: [(count: Int, grain: Int)]
        /// A bit per member that took part. Atomic and not behind a `Mutex`, which ThreadSanitizer does not see.
        let members = Atomic<UInt>(0)

        init(loops: [(count: Int, grain: Int)]) throws {
            self.loops = loops
            visits = try Buffer(count: loops.map(\.count).max() ?? 0)
        }

        func run(as member: inout Team.Member) {
            members.bitwiseOr(1 << UInt(member.index), ordering: .relaxed)
            for (number, loop) in loops.enumerated() {
                member.forEach(loop.count, grain: loop.grain) { range in
                    for index in range {
                        // Reads what another member wrote in the loop before.
                        if number > 0, index < loops[number - 1].count { precondition(visits.pointer[index] > 0) }
                        visits.pointer[index] += 1
                    }
                }
            }
        }
    }

    @Test("Every index of every loop is visited once, whatever the number of threads", arguments: [1, 2, 3, 8])
    func coverage(threads: Int) throws {
        let team = Team(threadCount: threads)
        let task = try CountingTask(loops: [(7, 1), (100, 3), (0, 1), (1001, 64), (1, 1), (1001, 1)])
        for round in 1...20 {
            team.run(task)
            #expect((0..<1001).allSatisfy { task.visits.pointer[$0] == round * expectedVisits($0, task) })
        }
        let members = task.members.load(ordering: .relaxed)
        #expect(members & 1 == 1 && members < 1 << UInt(threads))
    }

    private func expectedVisits(_ index: Int, _ task: CountingTask) -> Int {
        task.loops.filter { index < $0.count }.count
    }

    @Test("Thousands of short tasks in a row lose no part and see each other's writes")
    func manyTasks() throws {
        let team = Team(threadCount: 3)
        let task = try CountingTask(loops: [(30, 1), (30, 7)])
        for _ in 1...3_000 { team.run(task) }
        #expect((0..<30).allSatisfy { task.visits.pointer[$0] == 6_000 })
    }

    /// Waits in every part until both members are in.
    private final class MeetingTask: TeamTask {
        let arrived = Atomic<Int>(0)
        func run(as member: inout Team.Member) {
            member.forEach(2) { _ in
                arrived.add(1, ordering: .sequentiallyConsistent)
                while arrived.load(ordering: .sequentiallyConsistent) % 2 == 1 { sched_yield() }
            }
        }
    }

    @Test("Threads that have gone to sleep wake up for the next task", .timeLimit(.minutes(1)))
    func sleepAndWake() {
        let team = Team(threadCount: 2)
        let task = MeetingTask()
        for round in 1...3 {
            Thread.sleep(forTimeInterval: 0.02)
            team.run(task)
            #expect(task.arrived.load(ordering: .relaxed) == 2 * round)
        }
    }

    @Test("Idle threads sleep", .timeLimit(.minutes(1)))
    func idleThreadsSleep() async throws {
        let team = Team(threadCount: 4)
        team.run(try CountingTask(loops: [(4, 1)]))
        // However busy the machine is, they stop spinning in the end.
        while team.sleepingThreads < 3 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(team.sleepingThreads == 3)
    }

    @Test("Tasks from several threads at once all complete")
    func concurrent() throws {
        let team = Team(threadCount: 2)
        let tasks = try (0..<4).map { _ in try CountingTask(loops: [(8, 1), (5, 2)]) }
        let results = Mutex([Bool](repeating: false, count: tasks.count))
        nonisolated(unsafe) let shared = tasks
        DispatchQueue.concurrentPerform(iterations: tasks.count) { index in
            for _ in 0..<200 { team.run(shared[index]) }
            let visits = shared[index].visits.pointer
            results.withLock { $0[index] = visits[0] == 400 && visits[7] == 200 }
        }
        #expect(results.withLock { $0.allSatisfy { $0 } })
    }

    @Test("There is at least one physical core, and no more than processors")
    func physicalCores() {
        #expect((1...ProcessInfo.processInfo.activeProcessorCount).contains(PhysicalCores.count))
    }
}
