import Foundation
import ModelDescription

/// Where a run keeps its checkpoints and how it goes on after a stop.
public struct CheckpointPolicy: Sendable {
    /// Directory of the run's training checkpoints.
    public var directory: URL
    /// Optimiser steps between two of them.
    public var interval: Int
    /// Whether to go on from the newest one; a directory that holds some is refused otherwise.
    public var resumes: Bool

    public init(directory: URL, interval: Int, resumes: Bool) {
        self.directory = directory
        self.interval = interval
        self.resumes = resumes
    }
}

/// Steps of an optimiser over a stream of tokens, with checkpoints: distillation and pretraining differ in the loss.
final class TrainingLoop {
    private let model: Transformer
    private let plan: TrainingPlan
    private let segments: TokenSegments
    private let optimizer: AdamW
    /// The model, and copies of it for the other workers.
    private let replicas: [Transformer]
    private let schedule: LearningRateSchedule
    private let identity: TrainingCheckpoints.Identity

    init(model: Transformer, plan: TrainingPlan, tokens: [Int32]) throws {
        try plan.validate(context: model.configuration.maximumPositions)
        self.model = model
        self.plan = plan
        segments = try TokenSegments(tokens: tokens, length: plan.budget.sequenceLength, seed: plan.budget.seed)
        optimizer = try AdamW(model.parameters, settings: plan.optimizer)
        replicas = try [model] + (1..<max(1, plan.parallelism.workers)).map { _ in try model.replica() }
        for replica in replicas {
            for parameter in replica.parameters where plan.optimizer.learningRates[parameter.group] > 0 {
                try parameter.tensor.setRequiresGradient(true)
            }
        }
        schedule = LearningRateSchedule(warmupSteps: plan.warmupSteps, totalSteps: plan.budget.steps)
        identity = TrainingCheckpoints.Identity(plan: plan, corpus: digest(of: tokens))
    }

    /// Makes all steps that are still to be made.
    ///
    /// - Parameters:
    ///   - policy: Where to keep training checkpoints; none are kept where nil.
    ///   - observe: Told of every step. When it throws, `CancellationError` say, the state is saved and the error passed on.
    ///   - loss: Loss of the given copy of the model on a batch of tokens [B, T]; called from several threads.
    /// - Returns: The events of all steps, those before a resumption included.
    func run(
        policy: CheckpointPolicy?,
        observe: (TrainingEvent) throws -> Void,
        loss: @Sendable (Transformer, Tensor) throws -> StepLoss
    ) throws -> [TrainingEvent] {
        let checkpoints = policy.map { TrainingCheckpoints(directory: $0.directory) }
        var events: [TrainingEvent] = []
        if let policy, let checkpoints {
            if policy.resumes {
                events = try checkpoints.restore(identity: identity, model: model, optimizer: optimizer)?.events ?? []
            } else if !(try checkpoints.savedSteps().isEmpty) {
                throw TrainingError.workExists(directory: policy.directory)
            }
        }
        while events.count < plan.budget.steps {
            let event = try step(events.count + 1, loss: loss)
            events.append(event)
            let save = {
                try checkpoints?.save(
                    step: event.step, identity: self.identity, events: events, model: self.model,
                    optimizer: self.optimizer)
            }
            do {
                try observe(event)
            } catch {
                try save()
                throw error
            }
            if let policy, event.step % policy.interval == 0, event.step < plan.budget.steps { try save() }
        }
        return events
    }

    private func step(
        _ number: Int, loss: @Sendable (Transformer, Tensor) throws -> StepLoss
    ) throws -> TrainingEvent {
        var event = TrainingEvent(
            step: number, loss: 0, parts: [:], learningRateFactor: schedule.factor(at: number), gradientNorm: 0)
        let passSize = plan.budget.batchSize / plan.budget.accumulation
        for pass in 0..<plan.budget.accumulation {
            let start = (number - 1) * plan.budget.batchSize + pass * passSize
            for part in try gatherGradients(step: number, from: start, count: passSize, loss: loss) {
                event.loss += part.loss
                event.parts.merge(part.parts, uniquingKeysWith: +)
            }
        }
        try addUpGradients()
        event.gradientNorm = try optimizer.step(number, factor: event.learningRateFactor)
        guard event.gradientNorm.isFinite else {
            throw TrainingError.notFinite(step: number, quantity: "the gradient")
        }
        return event
    }

    /// Each worker's share of the loss of `count` segments, after its backward pass.
    private func gatherGradients(
        step: Int, from start: Int, count: Int, loss: @Sendable (Transformer, Tensor) throws -> StepLoss
    ) throws -> [(loss: Double, parts: [String: Double])] {
        let workers = min(replicas.count, count)
        let (segments, replicas, batchSize) = (segments, replicas, Double(plan.budget.batchSize))
        return try plan.parallelism.map(workers) { worker in
            let rows = (worker * count / workers)..<((worker + 1) * count / workers)
            let tokens = try segments.batch(from: start + rows.lowerBound, count: rows.count)
            let result = try loss(replicas[worker], tokens)
            let share = Double(rows.count) / batchSize
            let value = try result.total.item()
            guard value.isFinite else {
                let guilty = result.parts.filter { !$0.value.isFinite }.map(\.name).joined(separator: ", ")
                throw TrainingError.notFinite(
                    step: step, quantity: guilty.isEmpty ? "the loss" : "the loss (\(guilty))")
            }
            try (result.total * share).backward()
            let parts = result.parts.map { ($0.name, $0.value * share) }
            return (value * share, Dictionary(uniqueKeysWithValues: parts))
        }
    }

    /// Adds the copies' gradients to the model's own, in one order.
    private func addUpGradients() throws {
        for replica in replicas.dropFirst() {
            for (copy, own) in zip(replica.parameters, model.parameters) {
                try copy.tensor.moveGradient(to: own.tensor)
            }
        }
    }
}

/// FNV-1a over the tokens: enough to notice that a run is resumed on other data.
private func digest(of tokens: [Int32]) -> UInt64 {
    tokens.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64(UInt32(bitPattern: $1))) &* 0x100_0000_01b3 }
}
