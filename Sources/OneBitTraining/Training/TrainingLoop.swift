// OneBitTraining: teacher and student on libtorch, synthesis, distillation, optimizer, training checkpoints. May import
// Torch, LanguageModel, SignDecomposition and TensorFiles.

import Foundation
import ModelDescription
import Torch

/// How long, and on how much at a time, a model is trained.
public struct TrainingBudget: Sendable, Hashable, Codable {
    /// The length of a run.
    public enum Length: Sendable, Hashable {
        /// Optimizer steps.
        case steps(Int)
        /// Passes over the corpus.
        case epochs(Double)
    }

    public var length: Length
    /// Sequences per step.
    public var batchSize: Int
    /// Tokens per sequence.
    public var sequenceLength: Int

    public init(length: Length, batchSize: Int, sequenceLength: Int) {
        self.length = length
        self.batchSize = batchSize
        self.sequenceLength = sequenceLength
    }

    /// Tokens per optimizer step.
    public var tokensPerStep: Int { batchSize * sequenceLength }

    /// Optimizer steps over a corpus of so many tokens.
    public func steps(corpusTokens: Int) -> Int {
        switch length {
        case .steps(let steps): steps
        case .epochs(let epochs):
            max(1, Int((Double(corpusTokens) * epochs / Double(tokensPerStep)).rounded(.up)))
        }
    }
}

extension TrainingBudget.Length: Codable {
    private enum CodingKeys: CodingKey { case steps, epochs }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        if let steps = try container.decodeIfPresent(Int.self, forKey: .steps) {
            self = .steps(steps)
        } else {
            self = .epochs(try container.decode(Double.self, forKey: .epochs))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .steps(let steps): try container.encode(steps, forKey: .steps)
        case .epochs(let epochs): try container.encode(epochs, forKey: .epochs)
        }
    }
}

/// What one optimizer step did.
public struct TrainingEvent: Sendable, Hashable, Codable {
    /// Counted from 1.
    public var step: Int
    /// Weighted sum of the parts.
    public var loss: Double
    /// Each summand of the loss before its weight, by name.
    public var parts: [String: Double]
    /// The schedule's share of the peak learning rates.
    public var learningRateFactor: Double
    /// Joint 2-norm of the gradients before clipping.
    public var gradientNorm: Double
}

/// Loss of one batch: the scalar to go backward from, and its summands before their weights.
struct StepLoss: Sendable {
    let total: Tensor
    let parts: [(name: String, value: Tensor)]
}

/// Steps of an optimizer over a stream of tokens, with checkpoints: distillation and pretraining differ in the loss.
final class TrainingLoop {
    /// As it is after the steps made so far.
    private(set) var model: Transformer
    private let budget: TrainingBudget
    private let steps: Int
    private let segments: TokenSegments
    private let schedule: LearningRateSchedule
    private let identity: RunIdentity
    private let execution: Execution
    private let collective: Collective
    private var optimizer: AdamW
    /// Where the optimizer's parameters stand among the model's.
    private let trained: [Int]

    /// - Parameter settings: What the run computes besides the arguments; enters its identity with the corpus.
    init(
        model: Transformer, tokens: TrainingCorpus, budget: TrainingBudget, optimizer: OptimizerSettings, seed: UInt64,
        settings: some Encodable, inputs: [String: ContentDigest] = [:], execution: Execution,
        collective: Collective? = nil
    ) throws {
        steps = budget.steps(corpusTokens: tokens.count)
        try Self.validate(budget, steps: steps, optimizer, execution, context: model.configuration.maximumPositions)
        self.model = model
        self.budget = budget
        self.execution = execution
        self.collective =
            collective ?? Collective(threads: execution.threads, parameters: model.configuration.parameterCount)
        segments = try TokenSegments(
            tokens: tokens, length: budget.sequenceLength, seed: seed, prefetching: budget.batchSize)
        schedule = optimizer.schedule(steps: steps)
        identity = try RunIdentity(settings, inputs: inputs, corpus: tokens.identity)
        self.optimizer = try AdamW(model.parameters, settings: optimizer)
        trained = model.parameters.indices.filter { optimizer.learningRates[model.parameters[$0].group] > 0 }
    }

    /// - Throws: ``TrainingError/invalidSetting(name:value:expected:)``.
    private static func validate(
        _ budget: TrainingBudget, steps: Int, _ optimizer: OptimizerSettings, _ execution: Execution, context: Int
    ) throws {
        func require(_ holds: Bool, _ name: String, _ value: some CustomStringConvertible, _ expected: String) throws {
            if !holds { throw TrainingError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        let length = budget.sequenceLength
        try require(steps > 0, "steps", steps, "a positive number")
        try require(budget.batchSize > 0, "batch size", budget.batchSize, "a positive number")
        if let size = execution.microBatchSize { try require(size > 0, "micro-batch size", size, "a positive number") }
        try require(length > 1, "sequence length", length, "2 tokens or more")
        try require(length <= context, "sequence length", length, "at most the model's context of \(context)")
        try require(optimizer.warmupSteps >= 0, "warm-up steps", optimizer.warmupSteps, "zero or more")
        for group in ParameterGroup.allCases {
            let rate = optimizer.learningRates[group]
            try require(rate >= 0 && rate.isFinite, "learning rate of \(group.rawValue)", rate, "zero or more")
        }
    }

    /// Makes all steps that are still to be made.
    ///
    /// A cancelled or failed step changes nothing; the state after the last whole one is saved.
    ///
    /// - Parameters:
    ///   - policy: Where to keep training checkpoints; none are kept where nil.
    ///   - observe: Receives every step. When it throws, the state is saved and the error passed on.
    ///   - loss: Loss of the model on a batch of tokens [B, T]; called from several threads.
    ///   - finish: Receives the trained model and the events of all steps; when it throws, the last state is saved too.
    /// - Returns: The events of all steps, those before a resumption included.
    func run(
        policy: CheckpointPolicy?,
        observe: (TrainingEvent) throws -> Void,
        loss: @Sendable (Transformer, Tensor) throws -> StepLoss,
        finish: (Transformer, [TrainingEvent]) throws -> Void = { _, _ in }
    ) throws -> [TrainingEvent] {
        let checkpoints = policy.map { TrainingCheckpoints(directory: $0.directory, identity: identity) }
        var events = try checkpoints?.begin(resumes: policy?.resumes == true, optimizer: &optimizer, model: model) ?? []
        var saved = events.count
        func save() throws {
            guard let checkpoints, saved < events.count else { return }
            try checkpoints.save(step: events.count, optimizer: optimizer)
            saved = events.count
        }
        do {
            while events.count < steps {
                let event = try step(events.count + 1, loss: loss)
                events.append(event)
                try checkpoints?.append(event)
                try observe(event)
                if let policy, event.step % policy.interval == 0, event.step < steps { try save() }
            }
            model = try current(requiringGradient: false)
            try finish(model, events)
        } catch {
            if saved < events.count { policy?.onStop(events.count) }
            try save()
            throw error
        }
        return events
    }

    /// The model with the optimizer's values.
    private func current(requiringGradient: Bool) throws -> Transformer {
        var tensors = model.parameters.map(\.tensor)
        for (state, index) in zip(optimizer.states, trained) {
            tensors[index] = requiringGradient ? try state.value.requiringGradient() : state.value
        }
        return try model.with(tensors)
    }

    /// What a micro-batch contributes to a step.
    private struct Contribution: Sendable {
        /// By the optimizer's parameters.
        var gradients: [Tensor?]
        /// The loss and its parts, [1 + parts], times the micro-batch's share of the batch.
        var losses: Tensor
        var partNames: [String]

        static func + (a: Contribution, b: Contribution) throws -> Contribution {
            Contribution(
                gradients: try zip(a.gradients, b.gradients).map { a, b in
                    guard let a, let b else { return a ?? b }
                    return try a + b
                },
                losses: try a.losses + b.losses, partNames: a.partNames)
        }
    }

    private func step(
        _ number: Int, loss: @Sendable (Transformer, Tensor) throws -> StepLoss
    ) throws -> TrainingEvent {
        let model = try current(requiringGradient: true)
        let leaves = trained.map { model.parameters[$0].tensor }
        let (segments, batchSize) = (segments, budget.batchSize)
        let microBatches = execution.microBatches(of: batchSize, sequenceLength: budget.sequenceLength)
        let sum = try collective.sum(microBatches.count, adding: +) { index in
            let sequences = microBatches[index]
            let tokens = try segments.batch(
                from: (number - 1) * batchSize + sequences.lowerBound, count: sequences.count, device: model.device)
            let share = Double(sequences.count) / Double(batchSize)
            let loss = try loss(model, tokens)
            let total = try loss.total * share
            let gradients = try total.gradients(by: leaves)
            let losses = try withoutGradient {
                try Tensor.stacked([total.detached()] + loss.parts.map { try $0.value.detached() * share })
            }
            return Contribution(gradients: gradients, losses: losses, partNames: loss.parts.map(\.name))
        }
        guard let sum else { preconditionFailure("a step has one micro-batch at least") }

        let losses = try sum.losses.floats().map(Double.init)  // the one wait for the device
        let parts = Dictionary(uniqueKeysWithValues: zip(sum.partNames, losses.dropFirst()))
        guard losses[0].isFinite else {
            let infinite = sum.partNames.filter { parts[$0]?.isFinite == false }.joined(separator: ", ")
            throw TrainingError.notFinite(
                step: number, quantity: infinite.isEmpty ? "the loss" : "the loss (\(infinite))")
        }
        let factor = schedule.factor(at: number)
        let norm = try optimizer.step(number, gradients: sum.gradients, factor: factor)
        guard norm.isFinite else { throw TrainingError.notFinite(step: number, quantity: "the gradient") }
        return TrainingEvent(
            step: number, loss: losses[0], parts: parts, learningRateFactor: factor, gradientNorm: norm)
    }
}

/// `training_log.jsonl`: one line per step, without times, so that the same run gives the same bytes.
func trainingLog(_ events: [TrainingEvent]) throws -> Data {
    try events.reduce(into: Data()) { try $0.append(JSONEncoder.sorted.encode($1) + Data("\n".utf8)) }
}
