import Foundation
import JSON
import ModelDescription
import Testing

@testable import OneBitTraining
@testable import ResumableRuns
@testable import Torch

/// Several ranks, each on a thread of this process, against one.
@Suite("Sharding")
struct ShardingTests {
    private struct Stop: Error {}

    /// Runs `body` for each rank on a thread of its own.
    private func ranks<Result: Sendable>(
        _ size: Int, limit: Duration = .seconds(60), _ body: @escaping @Sendable (ProcessGroup) throws -> Result
    ) async throws -> [Swift.Result<Result, any Error>] {
        if size == 1 { return [Swift.Result { try body(.alone) }] }
        let store = try KeyValueStore.memory()
        return await withTaskGroup(of: (Int, Swift.Result<Result, any Error>).self) { group in
            for rank in 0..<size {
                group.addTask {
                    await withCheckedContinuation { continuation in
                        Thread.detachNewThread {
                            let result = Swift.Result {
                                try body(
                                    ProcessGroup(store: store, rank: rank, size: size, host: "127.0.0.1", limit: limit))
                            }
                            continuation.resume(returning: (rank, result))
                        }
                    }
                }
            }
            var results: [Int: Swift.Result<Result, any Error>] = [:]
            for await (rank, result) in group { results[rank] = result }
            return (0..<size).compactMap { results[$0] }
        }
    }

    /// A student whose signs are those of its teacher's weights.
    private static let models: (teacher: Transformer, student: Transformer) = {
        do {
            let teacher = try TinyModels.random(seed: 1)
            let weights = Dictionary(uniqueKeysWithValues: teacher.parameters.map { ($0.name, $0.value) })
            let student = try Transformer(
                configuration: teacher.configuration, oneBit: OneBitSettings(layerNormEpsilon: nil)
            ) { name, group in
                if let value = weights[name] {
                    return group == .latent ? .signs(try SignMatrix(signsOf: value.numbers())) : value
                }
                let isInput = name.hasSuffix("input_factor")
                let layer = name.dropLast(isInput ? "input_factor".count : "weight_scale".count)
                let shape = try #require(weights["\(layer)weight"]).numbers().shape
                return .tensor(try .full(isInput ? 1 : 0.015, shape: [isInput ? shape[1] : shape[0]]))
            }
            return (teacher, student)
        } catch { fatalError("\(error)") }
    }()

    private static func loop(
        _ group: ProcessGroup, steps: Int, byBlock: Bool = false, change: (inout OptimizerSettings) -> Void = { _ in }
    ) throws -> TrainingLoop {
        var optimizer = OptimizerSettings(learningRates: LearningRates(all: 3e-3), warmupSteps: 2)
        change(&optimizer)
        let parameters = Dictionary(uniqueKeysWithValues: models.teacher.parameters.map { ($0.name, $0.value) })
        let own = Dictionary(uniqueKeysWithValues: models.student.parameters.map { ($0.name, $0.value) })
        return try TrainingLoop(
            model: models.student,
            objective: .distillation(teacher: models.teacher, weights: LossWeights(klDivergence: 0.1, hiddenStates: 1)),
            tokens: TinyModels.tokens,
            budget: TrainingBudget(length: .steps(steps), batchSize: 5, sequenceLength: 8), optimizer: optimizer,
            seed: 3,
            settings: ["optimizer": optimizer], execution: Execution(threads: 1, microBatchSize: 1, group: group),
            collective: byBlock ? .alone(threads: 1) : nil,
            initial: { parameter, rows in
                try #require(parameters[parameter.name] ?? own[parameter.name]).numbers()
                    .narrowed(0, from: rows.lowerBound, length: rows.count)
            })
    }

    private func directory() throws -> URL { try TinyModels.temporaryDirectory() }

    @Test(
        "2, 3 and 4 ranks follow the curve of one within 1e-5, with gradients summed at the step or block by block",
        arguments: [2, 3, 4], [false, true])
    func curves(size: Int, byBlock: Bool) async throws {
        let expected = try Self.loop(.alone, steps: 20).run(policy: nil, observe: { _ in })
        let found = try await ranks(size) { group in
            try Self.loop(group, steps: 20, byBlock: byBlock).run(policy: nil, observe: { _ in })
        }.map { try $0.get() }
        #expect(Set(found).count == 1, "all ranks have the same events")
        for (one, other) in zip(found[0], expected) {
            #expect(abs(one.loss - other.loss) < 1e-5 * abs(other.loss), "step \(one.step)")
            #expect(abs(one.gradientNorm - other.gradientNorm) < 1e-4 * other.gradientNorm)
        }
        #expect(expected.last!.loss < expected.first!.loss)
    }

    @Test("Each of n ranks keeps an n-th of values and moments within 5 %, in every storage form", arguments: [2, 3])
    func stateBytes(size: Int) async throws {
        for moments in MomentStorage.allCases {
            let parameters = [
                TrainedParameter(name: "w", shape: [600, 512], group: .latent, isDecayed: true, scales: (1, 2)),
                TrainedParameter(name: "g", shape: [512], group: .scales, isDecayed: false),
                TrainedParameter(name: "h", shape: [600], group: .scales, isDecayed: false),
            ]
            let bytes = try await ranks(size) { group in
                var settings = OptimizerSettings(learningRates: LearningRates(all: 1))
                settings.momentStorage = moments
                return try ShardedOptimizer(parameters, settings: settings, signGradient: .hard, group: group) {
                    try .zeros([$1.count] + $0.shape.dropFirst())
                }.stateBytes
            }.map { try $0.get() }
            let whole =
                600 * 512 * (4 + 2 * moments.dtype.byteWidth) + (moments == .blocks ? 600 * 2 * 2 * 4 : 0) + 1112 * 12
            for found in bytes { #expect(abs(Double(found * size) / Double(whole) - 1) < 0.05) }
        }
    }

    @Test("Saved by 4 ranks, resumed by 4 to the same bits, by 1, 2 and 3 to the same curve", arguments: [1, 2, 3, 4])
    func elasticResumption(size: Int) async throws {
        let folder = try directory()
        defer { try? FileManager.default.removeItem(at: folder) }
        let unbroken = try await ranks(4) { group in
            let loop = try Self.loop(group, steps: 8) { $0.momentStorage = .bfloat16 }
            let events = try loop.run(policy: nil, observe: { _ in })
            return (events, try loop.numbers(of: 2).floats())
        }.map { try $0.get() }
        let stopped = try await ranks(4) { group in
            try Self.loop(group, steps: 8) { $0.momentStorage = .bfloat16 }.run(
                policy: CheckpointPolicy(directory: folder, interval: 2, resumes: false),
                observe: { if $0.step == 5, group.rank == 2 { throw Stop() } })
        }
        // One rank stops for a reason of its own, the others with it, and the state of that step is saved.
        for (rank, result) in stopped.enumerated() {
            #expect {
                try result.get()
            } throws: { error in
                rank == 2 ? error is Stop : (error as? ProcessGroupError).map { "\($0)".contains("peerFailed") } == true
            }
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.appending(path: "step-5").path).sorted()
        #expect(files == (0..<4).map { "rank-0000\($0)-of-00004.safetensors" } + ["state.json"])
        let resumed = try await ranks(size) { group in
            let loop = try Self.loop(group, steps: 8) { $0.momentStorage = .bfloat16 }
            let events = try loop.run(
                policy: CheckpointPolicy(directory: folder, interval: 100, resumes: true), observe: { _ in })
            return (events, try loop.numbers(of: 2).floats())
        }.map { try $0.get() }
        for (one, other) in zip(resumed[0].0, unbroken[0].0) {
            #expect(size == 4 ? one == other : abs(one.loss - other.loss) < 1e-3 * other.loss, "step \(one.step)")
        }
        if size == 4 { #expect(resumed[0].1 == unbroken[0].1) }
    }

    @Test("A checkpoint that the clock of one rank asks for is made by all after the same step")
    func checkpointByTheClock() async throws {
        let folder = try directory()
        defer { try? FileManager.default.removeItem(at: folder) }
        _ = try await ranks(2) { group in
            try Self.loop(group, steps: 3).run(
                policy: CheckpointPolicy(
                    directory: folder, interval: 100, longestInterval: group.rank == 1 ? .zero : .seconds(1000),
                    resumes: false),
                observe: { _ in })
        }.map { try $0.get() }
        let saved = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix("step-") }
        #expect(saved.sorted() == ["step-1", "step-2"])
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.appending(path: "step-2").path).sorted()
        #expect(files == ["rank-00000-of-00002.safetensors", "rank-00001-of-00002.safetensors", "state.json"])
    }

    @Test("One rank is asked to stop: all stop at the same step, and it is saved")
    func cancellation() async throws {
        let folder = try directory()
        defer { try? FileManager.default.removeItem(at: folder) }
        let store = try KeyValueStore.memory()
        let made = (0..<3).map { _ in Counter() }
        let tasks = (0..<3).map { rank in
            let counter = made[rank]
            return Task(executorPreference: ThreadExecutor()) {
                let group = try ProcessGroup(
                    store: store, rank: rank, size: 3, host: "127.0.0.1", limit: .seconds(60))
                _ = try Self.loop(group, steps: 100_000).run(
                    policy: CheckpointPolicy(directory: folder, interval: 1_000_000, resumes: false),
                    observe: { counter.set($0.step) })
            }
        }
        while made.contains(where: { $0.value < 3 }) { try await Task.sleep(for: .milliseconds(10)) }
        tasks[1].cancel()
        for task in tasks { await #expect(throws: CancellationError.self) { try await task.value } }
        let steps = made.map(\.value)
        #expect(Set(steps).count == 1)
        #expect(FileManager.default.fileExists(atPath: folder.appending(path: "step-\(steps[0])/state.json").path))
    }

    @Test("A checkpoint that lacks a file, or has one of another shape, is named and not trusted")
    func damaged() async throws {
        let folder = try directory()
        defer { try? FileManager.default.removeItem(at: folder) }
        for result in try await ranks(
            2,
            { group in
                try Self.loop(group, steps: 8).run(
                    policy: CheckpointPolicy(directory: folder, interval: 2, resumes: false),
                    observe: { if $0.step == 4 { throw Stop() } })
            })
        { #expect(throws: Stop.self) { try result.get() } }
        func expectDamaged(_ word: String) throws {
            #expect {
                try Self.loop(.alone, steps: 8).run(
                    policy: CheckpointPolicy(directory: folder, interval: 2, resumes: true), observe: { _ in })
            } throws: { error in
                guard case .damagedState(_, let reason)? = error as? RunError else { return false }
                return reason.contains(word)
            }
        }
        let step = folder.appending(path: "step-4")
        let second = step.appending(path: "rank-00001-of-00002.safetensors")
        let whole = try Data(contentsOf: second)
        // The first rank's rows in place of the second's.
        try Data(contentsOf: step.appending(path: "rank-00000-of-00002.safetensors")).write(to: second)
        try expectDamaged("rows")
        try FileManager.default.removeItem(at: second)
        try expectDamaged("is missing")
        try whole.dropLast(100).write(to: second)
        #expect(throws: (any Error).self) {
            try Self.loop(.alone, steps: 8).run(
                policy: CheckpointPolicy(directory: folder, interval: 2, resumes: true), observe: { _ in })
        }
        try whole.write(to: second)
        _ = try Self.loop(.alone, steps: 8).run(
            policy: CheckpointPolicy(directory: folder, interval: 2, resumes: true), observe: { _ in })
    }

    @Test("A distillation with 8-bit moments and bfloat16 latents ends near the one in float32")
    func storageForms() throws {
        func last(_ change: (inout OptimizerSettings) -> Void) throws -> Double {
            try Self.loop(.alone, steps: 60, change: change).run(policy: nil, observe: { _ in }).suffix(5)
                .reduce(0) { $0 + $1.loss / 5 }
        }
        let exact = try last { _ in }
        let first = try Self.loop(.alone, steps: 1).run(policy: nil, observe: { _ in })[0].loss
        #expect(exact < 0.8 * first)
        let blocks = try last { $0.momentStorage = .blocks }
        let half = try last { ($0.latentStorage, $0.momentStorage) = (.bfloat16, .bfloat16) }
        #expect(abs(blocks / exact - 1) < 0.1, "\(blocks) against \(exact)")
        #expect(abs(half / exact - 1) < 0.1, "\(half) against \(exact)")
    }
}

/// Runs each piece of a task on a thread of its own: ranks wait for each other, and the pool of tasks is no larger than the
/// machine.
private final class ThreadExecutor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        Thread.detachNewThread { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
