import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import Testing
import Torch

@testable import OneBitTraining
@testable import ResumableRuns

@Suite("Stopping and resuming")
struct ResumptionTests {
    private struct Stop: Error {}

    private func loop(
        _ model: Transformer, steps: Int, tokens: TrainingCorpus = TinyModels.tokens,
        execution: Execution = Execution(threads: 2, microBatchSize: 1)
    ) throws -> TrainingLoop {
        let configuration = TinyModels.pretraining(steps: steps)
        return try TrainingLoop(
            model: model, objective: .nextToken, tokens: tokens, budget: configuration.budget,
            optimizer: configuration.optimizer, seed: configuration.seed, settings: configuration,
            execution: execution)
    }

    private func weights(_ model: Transformer) throws -> [[Float]] {
        try model.parameters.map { try $0.value.numbers().floats() }
    }

    @Test(
        "A run stopped at any step and resumed by a fresh process with another number of threads ends in the same bits",
        arguments: [1, 3, 4, 6])
    func resume(stop: Int) throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let unbroken = try loop(TinyModels.random(seed: 1), steps: 8)
        let expectedEvents = try unbroken.run(policy: nil, observe: { _ in })

        // A kill leaves what the last checkpoint saved (interval 2); an interruption saves its own step.
        #expect(throws: Stop.self) {
            try loop(TinyModels.random(seed: 1), steps: 8).run(
                policy: CheckpointPolicy(directory: directory, interval: 2, resumes: false),
                observe: { if $0.step == stop { throw Stop() } })
        }
        let resumed = try loop(
            TinyModels.random(seed: 99),  // its own weights must not matter
            steps: 8, execution: Execution(threads: 3, microBatchSize: 1))
        let events = try resumed.run(
            policy: CheckpointPolicy(directory: directory, interval: 2, resumes: true), observe: { _ in })
        #expect(try weights(resumed.model) == weights(unbroken.model))
        #expect(events == expectedEvents)
        #expect(events.last!.loss < events.first!.loss)
    }

    @Test("Other settings or other data than the first run's are refused, naming the setting")
    func settingsChanged() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        func run(steps: Int, tokens: TrainingCorpus = TinyModels.tokens, resumes: Bool) throws {
            _ = try loop(TinyModels.random(seed: 1), steps: steps, tokens: tokens).run(
                policy: CheckpointPolicy(directory: directory, interval: 1, resumes: resumes),
                observe: { if $0.step == 2 { throw Stop() } })
        }
        #expect(throws: Stop.self) { try run(steps: 8, resumes: false) }
        #expect(throws: RunError.workExists(directory: directory)) { try run(steps: 8, resumes: false) }
        #expect(
            throws: RunError.settingsChanged(
                directory: directory, key: "budget.length.steps", saved: "8", given: "9")
        ) {
            try run(steps: 9, resumes: true)
        }
        #expect {
            try run(steps: 8, tokens: TrainingCorpus(TinyModels.ids.reversed() as [Int32]), resumes: true)
        } throws: { error in
            guard case .settingsChanged(_, "corpus", _, _)? = error as? RunError else { return false }
            return true
        }
    }

    @Test("A distillation is not resumed with another loss, sign gradient, teacher or start; with other threads it is")
    func identity() throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        func url(_ name: String) -> URL { folder.appending(path: name) }
        func makeTeacher(_ name: String, seed: UInt64) throws -> Checkpoint {
            try FileManager.default.createDirectory(at: url(name), withIntermediateDirectories: true)
            try TinyModels.shape.configuration(beginOfSequence: 1, endOfSequence: 2)
                .write(to: url("\(name)/config.json"))
            let configuration = try ModelConfiguration(contentsOf: url("\(name)/config.json"))
            try Pretrainer(configuration: configuration, elementType: .float32, seed: seed).evaluated.model
                .write(to: url(name), elementType: .float32)
            return try Checkpoint(directory: url(name))
        }
        func makeStart(_ name: String, of teacher: Checkpoint, recipe: StartRecipe = .standard) throws -> Checkpoint {
            try StudentInitializer(recipe: recipe).run(teacher: teacher, destination: url(name))
            return try Checkpoint(directory: url(name))
        }
        let teacher = try makeTeacher("teacher", seed: 1)
        let start = try makeStart("start", of: teacher)
        let configuration = TinyModels.distillation(.default(for: teacher.configuration), steps: 4)
        func resume(
            _ configuration: DistillationConfiguration, teacher: Checkpoint, start: Checkpoint, threads: Int = 1,
            resumes: Bool = true, stop: Int? = nil
        ) throws {
            try Distiller(
                teacher: teacher, start: start, configuration: configuration, execution: Execution(threads: threads)
            ).run(
                corpus: TinyModels.tokens, output: url("student"), overwrite: true,
                checkpoints: CheckpointPolicy(directory: url("work"), interval: 1, resumes: resumes),
                observe: { if $0.step == stop { throw Stop() } })
        }
        #expect(throws: Stop.self) {
            try resume(configuration, teacher: teacher, start: start, resumes: false, stop: 2)
        }
        func expectRefusal(_ key: String, _ body: () throws -> Void) {
            #expect {
                try body()
            } throws: { error in
                guard case .settingsChanged(_, key, let saved, let given)? = error as? RunError else {
                    return false
                }
                return saved != given
            }
        }
        let changes: [(String, (inout DistillationConfiguration) -> Void)] = [
            ("loss.sign_gradient", { $0.loss.signGradient = .tanh }),
            ("loss.weights.kl_divergence", { $0.loss.weights.klDivergence = 0.02 }),
            ("loss.weights.language_model", { $0.loss.weights.languageModel = 1 }),
            ("optimizer.learning_rates.norm", { $0.optimizer.learningRates.norm = 0 }),
            ("optimizer.weight_decay", { $0.optimizer.weightDecay = 0 }),
            ("optimizer.warmup_steps", { $0.optimizer.warmupSteps = 0 }),
            ("budget.batch_size", { $0.budget.batchSize = 2 }),
            ("seed", { $0.seed = 4 }),
        ]
        for (key, change) in changes {
            var changed = configuration
            change(&changed)
            expectRefusal(key) { try resume(changed, teacher: teacher, start: start) }
        }
        let other = try makeTeacher("other", seed: 2)
        expectRefusal("teacher") { try resume(configuration, teacher: other, start: start) }
        // The same tensors, read with another number of heads.
        let heads = try makeTeacher("heads", seed: 1)
        let file = url("heads/config.json")
        var keys = try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
        (keys["num_attention_heads"], keys["num_key_value_heads"], keys["head_dim"]) = (8, 4, 2)
        try JSONSerialization.data(withJSONObject: keys).write(to: file)
        let split = try Checkpoint(directory: heads.directory)
        #expect {
            try resume(configuration, teacher: split, start: makeStart("start2", of: split))
        } throws: { error in
            guard case .settingsChanged? = error as? RunError else { return false }
            return true
        }
        expectRefusal("start") {
            try resume(configuration, teacher: teacher, start: makeStart("start3", of: teacher, recipe: .paper))
        }
        try resume(configuration, teacher: teacher, start: start, threads: 3)
    }

    @Test("The log grows by a line per step beside the checkpoints, and a resumption cuts it back to its step")
    func eventLog() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let log = directory.appending(path: "events.jsonl")
        func lines() throws -> Int { try Data(contentsOf: log).split(separator: 10).count }
        func run(resumes: Bool, stop: Int) throws {
            _ = try loop(TinyModels.random(seed: 1), steps: 8).run(
                policy: CheckpointPolicy(directory: directory, interval: 2, resumes: resumes),
                observe: { if $0.step == stop { throw Stop() } })
        }
        #expect(throws: Stop.self) { try run(resumes: false, stop: 5) }
        #expect(try lines() == 5)
        func stateSize(_ step: Int) throws -> Int {
            try Data(contentsOf: directory.appending(path: "step-\(step)/state.json")).count
        }
        #expect(try stateSize(4) == stateSize(5), "a checkpoint's state does not grow with the steps")
        // As a kill leaves it: steps behind the checkpoint, the last line torn.
        try FileManager.default.removeItem(at: directory.appending(path: "step-5"))
        let handle = try FileHandle(forWritingTo: log)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("{\"step\":6,".utf8))
        try handle.close()
        #expect(throws: Stop.self) { try run(resumes: true, stop: 6) }
        #expect(try lines() == 6)
        // A log without the checkpoint's steps is damaged.
        try Data("{}\n".utf8).write(to: log)
        #expect {
            try run(resumes: true, stop: 7)
        } throws: { error in
            guard case .damagedState? = error as? RunError else { return false }
            return true
        }
    }

    @Test("A cancelled task stops within a step, backward pass included; the last whole step is saved and resumed from")
    func cancellation() async throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let model = try TinyModels.random(seed: 1)
        let (steps, cancel) = (Counter(), Canceller())
        let task = Task {
            try self.loop(model, steps: 100_000).run(
                policy: CheckpointPolicy(directory: directory, interval: 1_000_000, resumes: false),
                observe: {
                    steps.set($0.step)
                    // Somewhere in the fourth step, or behind it.
                    if $0.step == 3 { cancel.cancel() }
                })
        }
        cancel.set(task.cancel)
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        let made = steps.value
        #expect(FileManager.default.fileExists(atPath: directory.appending(path: "step-\(made)").path))
        var resumed: [Int] = []
        #expect(throws: Stop.self) {
            try loop(TinyModels.random(seed: 1), steps: 100_000).run(
                policy: CheckpointPolicy(directory: directory, interval: 1_000_000, resumes: true),
                observe: {
                    resumed.append($0.step)
                    if resumed.count == 2 { throw Stop() }
                })
        }
        #expect(resumed == [made + 1, made + 2])
    }

    @Test("A damaged training checkpoint is named, not trusted")
    func damagedCheckpoint() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        func run() throws {
            _ = try loop(TinyModels.random(seed: 1), steps: 4).run(
                policy: CheckpointPolicy(directory: directory, interval: 1, resumes: true),
                observe: { if $0.step == 2 { throw Stop() } })
        }
        #expect(throws: Stop.self) { try run() }
        let state = directory.appending(path: "step-2/state.json")
        try Data("{\"step\":".utf8).write(to: state)
        #expect {
            try run()
        } throws: { error in
            guard case .damagedState(let found, _)? = error as? RunError else { return false }
            return found.lastPathComponent == "step-2"
        }
    }

    @Test("A loss that is not finite stops the run, names step and part, and moves and saves nothing")
    func notFinite() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let healthy = try TinyModels.random(seed: 1)
        let poisoned = try healthy.with(
            healthy.parameters.map {
                $0.name == "model.norm.weight" ? .tensor(try .full(.nan, shape: $0.shape)) : $0.value
            })
        #expect(throws: TrainingError.notFinite(step: 1, quantity: "the loss (cross_entropy)")) {
            _ = try loop(poisoned, steps: 4).run(
                policy: CheckpointPolicy(directory: directory, interval: 1, resumes: false), observe: { _ in })
        }
        #expect(
            !(try FileManager.default.contentsOfDirectory(atPath: directory.path)).contains { $0.hasPrefix("step") })
    }

    @Test("Settings out of range are refused by name before anything is computed")
    func invalidSettings() throws {
        let model = try TinyModels.random(seed: 1)
        func make(sequenceLength: Int = 8, batchSize: Int = 4, microBatchSize: Int? = nil) throws {
            _ = try TrainingLoop(
                model: model, objective: .nextToken, tokens: TinyModels.tokens,
                budget: TrainingBudget(length: .steps(4), batchSize: batchSize, sequenceLength: sequenceLength),
                optimizer: TinyModels.optimizer, seed: 0, settings: "",
                execution: Execution(microBatchSize: microBatchSize))
        }
        #expect {
            try make(sequenceLength: 33)
        } throws: { error in
            guard case .invalidSetting("sequence length", "33", _)? = error as? RunError else { return false }
            return true
        }
        #expect(throws: RunError.self) { try make(batchSize: 0) }
        #expect(throws: RunError.self) { try make(microBatchSize: 0) }
    }

    @Test("Splitting a batch into micro-batches changes nothing but rounding; sharing these out changes nothing at all")
    func splitting() throws {
        func losses(microBatch: Int, threads: Int) throws -> [Double] {
            try loop(
                TinyModels.random(seed: 1), steps: 5,
                execution: Execution(threads: threads, microBatchSize: microBatch)
            ).run(policy: nil, observe: { _ in }).map(\.loss)
        }
        let whole = try losses(microBatch: 4, threads: 1)
        for microBatch in [1, 2, 3] {
            let alone = try losses(microBatch: microBatch, threads: 1)
            for threads in [2, 3, 4] { #expect(try losses(microBatch: microBatch, threads: threads) == alone) }
            for (one, other) in zip(whole, alone) { #expect(abs(one - other) < 1e-3, "\(microBatch)") }
        }
    }
}
