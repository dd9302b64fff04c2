import Foundation
import ModelDescription
import TensorFiles
import Testing
@testable import OneBitTraining


@Suite("Stopping and resuming")
struct ResumptionTests {
    private struct Stop: Error {}

    @Sendable
    private static func nextTokenLoss(_ model: Transformer, _ tokens: Tensor) throws -> StepLoss {
        let length = tokens.shape[1]
        let logits = try model(tokens).logits.narrowed(1, from: 0, length: length - 1)
        let loss = try logits.crossEntropy(try tokens.narrowed(1, from: 1, length: length - 1))
        return StepLoss(total: loss, parts: [LossPart(name: "cross_entropy", value: try loss.item())])
    }

    private func weights(_ model: Transformer) throws -> [[Float]] {
        try model.parameters.map { try $0.tensor.floats() }
    }

    @Test("A run stopped at any step and resumed by a fresh process ends in the same bits", arguments: [1, 3, 4, 6])
    func resume(stop: Int) throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let unbroken = try TinyModels.random(seed: 1)
        let expectedEvents = try TrainingLoop(
            model: unbroken, plan: TinyModels.plan(steps: 8), tokens: TinyModels.tokens
        ).run(policy: nil, observe: { _ in }, loss: Self.nextTokenLoss)

        // A kill leaves what the last checkpoint saved (interval 2); an interruption saves its own step.
        let broken = try TinyModels.random(seed: 1)
        #expect(throws: Stop.self) {
            try TrainingLoop(model: broken, plan: TinyModels.plan(steps: 8), tokens: TinyModels.tokens).run(
                policy: CheckpointPolicy(directory: directory, interval: 2, resumes: false),
                observe: { if $0.step == stop { throw Stop() } },
                loss: Self.nextTokenLoss)
        }
        let resumed = try TinyModels.random(seed: 99)  // its own weights must not matter
        let events = try TrainingLoop(
            model: resumed, plan: TinyModels.plan(steps: 8), tokens: TinyModels.tokens
        ).run(
            policy: CheckpointPolicy(directory: directory, interval: 2, resumes: true), observe: { _ in },
            loss: Self.nextTokenLoss)
        #expect(try weights(resumed) == weights(unbroken))
        #expect(events == expectedEvents)
        #expect(events.last!.loss < events.first!.loss)
    }

    @Test("Other settings or other data than the first run's are refused, naming the setting")
    func settingsChanged() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        func run(_ plan: TrainingPlan, tokens: [Int32] = TinyModels.tokens, resumes: Bool) throws {
            let model = try TinyModels.random(seed: 1)
            _ = try TrainingLoop(model: model, plan: plan, tokens: tokens).run(
                policy: CheckpointPolicy(directory: directory, interval: 1, resumes: resumes),
                observe: { if $0.step == 2 { throw Stop() } }, loss: Self.nextTokenLoss)
        }
        #expect(throws: Stop.self) { try run(TinyModels.plan(steps: 8), resumes: false) }
        #expect(throws: TrainingError.workExists(directory: directory)) {
            try run(TinyModels.plan(steps: 8), resumes: false)
        }
        #expect {
            try run(TinyModels.plan(steps: 9), resumes: true)
        } throws: { error in
            guard case .settingsChanged(_, let key, "8", "9")? = error as? TrainingError else { return false }
            return key == "plan.budget.steps"
        }
        #expect {
            try run(TinyModels.plan(steps: 8), tokens: TinyModels.tokens.reversed(), resumes: true)
        } throws: { error in
            guard case .settingsChanged(_, "corpus", _, _)? = error as? TrainingError else { return false }
            return true
        }
    }

    @Test("A damaged training checkpoint is named, not trusted")
    func damagedCheckpoint() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        func run() throws {
            let model = try TinyModels.random(seed: 1)
            _ = try TrainingLoop(model: model, plan: TinyModels.plan(steps: 4), tokens: TinyModels.tokens).run(
                policy: CheckpointPolicy(directory: directory, interval: 1, resumes: true),
                observe: { if $0.step == 2 { throw Stop() } }, loss: Self.nextTokenLoss)
        }
        #expect(throws: Stop.self) { try run() }
        let state = directory.appending(path: "step-2/state.json")
        try Data("{\"step\":".utf8).write(to: state)
        #expect {
            try run()
        } throws: { error in
            guard case .damagedTrainingCheckpoint(let found, _)? = error as? TrainingError else { return false }
            return found.lastPathComponent == "step-2"
        }
    }

    @Test("A loss that is not finite stops the run and names step and part")
    func notFinite() throws {
        let model = try TinyModels.random(seed: 1)
        let loop = try TrainingLoop(model: model, plan: TinyModels.plan(steps: 4), tokens: TinyModels.tokens)
        let poison = try Tensor([Float.nan], shape: [1]).sum()
        #expect(throws: TrainingError.notFinite(step: 1, quantity: "the loss (poison)")) {
            _ = try loop.run(
                policy: nil, observe: { _ in },
                loss: { _, _ in StepLoss(total: poison, parts: [LossPart(name: "poison", value: .nan)]) })
        }
    }

    @Test("Settings out of range are refused by name before anything is computed")
    func invalidPlan() throws {
        let model = try TinyModels.random(seed: 1)
        var plan = TinyModels.plan(steps: 4)
        plan.budget.sequenceLength = 33
        #expect {
            try TrainingLoop(model: model, plan: plan, tokens: TinyModels.tokens)
        } throws: { error in
            guard case .invalidSetting("sequence length", "33", _)? = error as? TrainingError else { return false }
            return true
        }
        plan.budget.sequenceLength = 8
        plan.budget.accumulation = 3
        #expect(throws: TrainingError.self) { try TrainingLoop(model: model, plan: plan, tokens: TinyModels.tokens) }
    }

    @Test("Splitting a batch into passes, or over workers, changes nothing but rounding")
    func splitting() throws {
        func losses(passes: Int, workers: Int) throws -> [Double] {
            let model = try TinyModels.random(seed: 1)
            var plan = TinyModels.plan(steps: 5)
            plan.budget.accumulation = passes
            plan.parallelism.workers = workers
            return try TrainingLoop(model: model, plan: plan, tokens: TinyModels.tokens)
                .run(policy: nil, observe: { _ in }, loss: Self.nextTokenLoss).map(\.loss)
        }
        let whole = try losses(passes: 1, workers: 1)
        for (passes, workers) in [(4, 1), (1, 2), (1, 3), (2, 2)] {
            for (one, other) in zip(whole, try losses(passes: passes, workers: workers)) {
                #expect(abs(one - other) < 1e-3, "\(passes) passes, \(workers) workers")
            }
        }
    }
}
