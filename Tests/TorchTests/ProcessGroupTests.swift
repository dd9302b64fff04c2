import Foundation
import Synchronization
import Testing

@testable import Torch

@Suite("Process groups")
struct ProcessGroupTests {
    /// Runs `body` on a thread per rank, joined over a store in memory, and returns the results in the order of the ranks.
    static func ranks<Result: Sendable>(
        _ size: Int, limit: Duration = .seconds(30), _ body: @escaping @Sendable (ProcessGroup) throws -> Result
    ) async throws -> [Result] {
        let store = try KeyValueStore.memory()
        return try await threads(size) { rank in
            try body(ProcessGroup(store: store, rank: rank, size: size, host: "127.0.0.1", limit: limit))
        }
    }

    /// Threads and not tasks: ranks wait for each other, and the pool of tasks is no larger than the machine.
    static func threads<Result: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (Int) throws -> Result
    ) async throws -> [Result] {
        try await withThrowingTaskGroup(of: (Int, Result).self) { group in
            for rank in 0..<count {
                group.addTask {
                    try await withCheckedThrowingContinuation { continuation in
                        Thread.detachNewThread {
                            continuation.resume(with: Swift.Result { (rank, try body(rank)) })
                        }
                    }
                }
            }
            var results: [Int: Result] = [:]
            for try await (rank, result) in group { results[rank] = result }
            return (0..<count).compactMap { results[$0] }
        }
    }

    private func tensor(_ rank: Int, _ shape: [Int], _ dtype: DType) throws -> Tensor {
        let count = shape.reduce(1, *)
        return try .floats((0..<count).map { Float(($0 * 7 + rank * 3) % 11 - 5) }, shape: shape, dtype: dtype)
    }

    @Test("Collectives give every rank what their names say, in float32, bfloat16 and float16", arguments: [2, 3, 4])
    func collectives(size: Int) async throws {
        for dtype in [DType.float32, .bfloat16, .float16] {
            let found = try await Self.ranks(size) { group in
                let parts = try self.tensor(group.rank, [size, 2, 3], dtype)
                let sum = try group.startReduceScatter(parts).value()
                return (
                    sum: try sum.floats(), dtype: sum.dtype,
                    reduced: try group.allReduce(try self.tensor(group.rank, [5], dtype)).floats(),
                    gathered: try group.allGather(try self.tensor(group.rank, [2], dtype)).floats(),
                    sent: try group.broadcast(try self.tensor(group.rank, [4], dtype), from: size - 1).floats(),
                    numbers: try group.allGather([Double(group.rank), 0.5])
                )
            }
            for (rank, result) in found.enumerated() {
                let parts = try (0..<size).map { try tensor($0, [size, 2, 3], dtype).floats() }
                let sum = (0..<6).map { i in parts.reduce(Float(0)) { $0 + $1[rank * 6 + i] } }
                #expect(result.sum == sum)
                #expect(result.dtype == .float32)
                let wholes = try (0..<size).map { try tensor($0, [5], dtype).floats() }
                let reduced = (0..<5).map { i in wholes.reduce(Float(0)) { $0 + $1[i] } }
                #expect(result.reduced == reduced)
                let gathered = try (0..<size).flatMap { try tensor($0, [2], dtype).floats() }
                #expect(result.gathered == gathered)
                #expect(try result.sent == tensor(size - 1, [4], dtype).floats())
                #expect(result.numbers == (0..<size).map { [Double($0), 0.5] })
            }
        }
    }

    @Test("A group of one computes what a collective means for one rank, without c10d")
    func alone() throws {
        let group = ProcessGroup.alone
        let part = try Tensor.floats([1, 2], shape: [1, 2])
        #expect(try group.startReduceScatter(part).value().floats() == [1, 2])
        #expect(try group.allGather(part).shape == [1, 1, 2])
        #expect(try group.allReduce(part).floats() == [1, 2])
        #expect(try group.allGather([3]) == [[3]])
        try group.barrier("alone")
    }

    @Test("A rank that never comes, a size that differs, a rank that is taken, a port in use: errors that name them")
    func meeting() async throws {
        let store = try KeyValueStore.memory()
        #expect(throws: ProcessGroupError.ranksMissing([0, 2], size: 3, address: "memory", seconds: 0)) {
            try ProcessGroup(store: store, rank: 1, size: 3, limit: .milliseconds(200))
        }
        #expect(throws: ProcessGroupError.rankTaken(rank: 1, address: "memory")) {
            try ProcessGroup(store: store, rank: 1, size: 3, limit: .milliseconds(200))
        }
        let other = try KeyValueStore.memory()
        let errors = try await Self.threads(2) { rank -> ProcessGroupError? in
            do {
                _ = try ProcessGroup(store: other, rank: rank, size: rank + 2, limit: .seconds(1))
                return nil
            } catch { return error as? ProcessGroupError }
        }
        #expect(errors.contains { if case .sizesDiffer? = $0 { true } else { false } })
        #expect(!errors.contains(nil))

        let served = try KeyValueStore.serving(host: "127.0.0.1", port: 0)
        #expect(throws: ProcessGroupError.portInUse(host: "127.0.0.1", port: served.port)) {
            try KeyValueStore.serving(host: "127.0.0.1", port: served.port)
        }
        let begin = ContinuousClock.now
        #expect(throws: ProcessGroupError.unreachable(address: "tcp://127.0.0.1:1", seconds: 0)) {
            try KeyValueStore.connecting(host: "127.0.0.1", port: 1, limit: .milliseconds(300))
        }
        #expect(ContinuousClock.now - begin < .seconds(5))
    }

    @Test(
        "Ranks on CUDA devices without CUDA's libraries: an error that names NCCL's",
        .enabled(if: !CUDALibrary.isLoaded))
    func withoutNCCL() async throws {
        let store = try KeyValueStore.memory()
        let reasons = try await Self.threads(2) { rank in
            do {
                _ = try ProcessGroup(store: store, rank: rank, size: 2, host: "127.0.0.1", device: .cuda(0))
                return ""
            } catch let error as ProcessGroupError {
                return error.localizedDescription
            }
        }
        #expect(reasons.allSatisfy { $0.contains("libonebit_nccl.so") })
    }

    @Test("Processes meet over TCP and in a file")
    func stores() async throws {
        let server = try KeyValueStore.serving(host: "127.0.0.1", port: 0)
        let file = FileManager.default.temporaryDirectory.appending(path: "onebit-store-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: file) }
        let sums = try await Self.threads(2) { rank in
            let tcp =
                rank == 0
                ? server : try KeyValueStore.connecting(host: "127.0.0.1", port: server.port, limit: .seconds(10))
            return try [tcp, KeyValueStore.file(file, size: 2)].map { store in
                let group = try ProcessGroup(store: store, rank: rank, size: 2, prefix: "1", host: "127.0.0.1")
                try group.barrier("here")
                return try group.allGather([1])
            }
        }
        #expect(sums == [[[[1], [1]], [[1], [1]]], [[[1], [1]], [[1], [1]]]])
    }

    @Test("A rank that gives a step up takes the others, who wait in a collective, with it; a committed step is kept")
    func stopping() async throws {
        let outcomes = try await Self.ranks(3) { group -> String in
            group.open(step: 1)
            _ = try group.commit { try group.allGather([1]) }
            group.open(step: 2)
            if group.rank == 1 {
                usleep(300_000)
                _ = try group.requestStop(.init(rank: 1, step: 2, reason: nil, savesState: true))
                try group.barrier("stopped")
                return "asked"
            }
            let begin = ContinuousClock.now
            do {
                _ = try group.commit { try group.allGather([1]) }
                return "committed"
            } catch is CancellationError {
                // What is left to do needs no collective.
                try group.barrier("stopped")
                return ContinuousClock.now - begin < .seconds(2) ? "stopped" : "late"
            }
        }
        #expect(outcomes == ["stopped", "asked", "stopped"])
    }

    @Test("Waiting for a collective ends when the task is cancelled, before a step is committed")
    func cancellation() async throws {
        let store = try KeyValueStore.memory()
        _ = try await Self.threads(2) { rank in
            // Other tests may keep the threads that tasks run on for minutes.
            let group = try ProcessGroup(store: store, rank: rank, size: 2, host: "127.0.0.1", limit: .seconds(1800))
            guard rank == 0 else {
                try group.barrier("end")
                return
            }
            group.open(step: 1)
            let done = DispatchSemaphore(value: 0)
            let task = Task {
                defer { done.signal() }
                #expect(throws: CancellationError.self) { _ = try group.allGather([1]) }
            }
            usleep(300_000)
            task.cancel()
            done.wait()
            try group.barrier("end")
        }
    }

    @Test("A rank that does not come to a collective is an error within the limit")
    func timeLimit() async throws {
        let errors = try await Self.ranks(2, limit: .seconds(1)) { group -> ProcessGroupError? in
            guard group.rank == 0 else {
                usleep(2_500_000)
                return nil
            }
            do {
                _ = try group.allGather([1])
                return nil
            } catch { return error as? ProcessGroupError }
        }
        guard case .timedOut? = errors[0] else {
            Issue.record("\(String(describing: errors[0]))")
            return
        }
    }
}
