import Foundation
import ModelFiles

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
    private let model: LlamaModel
    private let plan: TrainingPlan
    private let segments: TokenSegments
    private let optimizer: AdamW
    private let schedule: LearningRateSchedule
    private let identity: TrainingCheckpoints.Identity

    init(model: LlamaModel, plan: TrainingPlan, tokens: [Int32]) throws {
        try plan.validate(context: model.configuration.maximumPositions)
        self.model = model
        self.plan = plan
        segments = try TokenSegments(tokens: tokens, length: plan.budget.sequenceLength, seed: plan.budget.seed)
        optimizer = try AdamW(model.parameters, settings: plan.optimizer)
        schedule = LearningRateSchedule(warmupSteps: plan.warmupSteps, totalSteps: plan.budget.steps)
        identity = TrainingCheckpoints.Identity(plan: plan, corpus: digest(of: tokens))
    }

    /// Makes all steps that are still to be made.
    ///
    /// - Parameters:
    ///   - policy: Where to keep training checkpoints; none are kept where nil.
    ///   - observe: Told of every step. When it throws, `CancellationError` say, the state is saved and the error passed on.
    ///   - loss: Loss of a batch of tokens [B, T].
    /// - Returns: The events of all steps, those before a resumption included.
    func run(
        policy: CheckpointPolicy?,
        observe: (TrainingEvent) throws -> Void,
        loss: (Tensor) throws -> StepLoss
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

    private func step(_ number: Int, loss: (Tensor) throws -> StepLoss) throws -> TrainingEvent {
        let factor = schedule.factor(at: number)
        let share = 1 / Double(plan.budget.accumulation)
        let count = plan.budget.batchSize / plan.budget.accumulation
        var event = TrainingEvent(step: number, loss: 0, parts: [:], learningRateFactor: factor, gradientNorm: 0)
        for pass in 0..<plan.budget.accumulation {
            let start = (number - 1) * plan.budget.batchSize + pass * count
            let batch = try loss(try segments.batch(from: start, count: count))
            let value = try batch.total.item()
            guard value.isFinite else {
                let guilty = batch.parts.filter { !$0.value.isFinite }.map(\.name).joined(separator: ", ")
                throw TrainingError.notFinite(
                    step: number, quantity: guilty.isEmpty ? "the loss" : "the loss (\(guilty))")
            }
            event.loss += value * share
            for part in batch.parts { event.parts[part.name, default: 0] += part.value * share }
            try (plan.budget.accumulation == 1 ? batch.total : batch.total * share).backward()
        }
        event.gradientNorm = try optimizer.step(number, factor: factor)
        guard event.gradientNorm.isFinite else {
            throw TrainingError.notFinite(step: number, quantity: "the gradient")
        }
        return event
    }
}

/// FNV-1a over the tokens: enough to notice that a run is resumed on other data.
private func digest(of tokens: [Int32]) -> UInt64 {
    tokens.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64(UInt32(bitPattern: $1))) &* 0x100_0000_01b3 }
}
