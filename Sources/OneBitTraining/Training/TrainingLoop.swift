// OneBitTraining: teacher and student on libtorch, distillation, optimizer, training checkpoints. May import Torch,
// LanguageModel, CorpusSynthesis, ResumableRuns, SignDecomposition and TensorFiles.

import Foundation
import JSON
import LanguageModel
import ModelDescription
import ResumableRuns
import Torch

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
    /// What gradients were multiplied by while they were computed; nil where they were not.
    public var lossScale: Double?
}

/// Steps of an optimizer over a stream of tokens, with checkpoints: distillation and pretraining differ in the objective.
final class TrainingLoop {
    /// As it is after the steps made so far.
    private(set) var model: Transformer
    private let objective: TrainingObjective
    private let budget: TrainingBudget
    private let precision: Precision
    private let steps: Int
    private let segments: TokenSegments
    private let corpusTokens: Int
    private let phases = PhaseTimer()
    private let rates: LearningRateSchedule
    private let identity: RunIdentity
    private let execution: Execution
    private let collective: Collective
    private let optimizer: ShardedOptimizer
    /// Where the optimizer's parameters stand among the model's, and the other way round.
    private let trained: [Int]
    private let optimizerIndex: [Int: Int]

    /// - Parameters:
    ///   - model: What is trained.
    ///   - objective: What is minimized.
    ///   - signGradient: How the gradient passes through the signs.
    ///   - precision: What the model computes in.
    ///   - settings: What the run computes besides the arguments; enters its identity with the corpus.
    ///   - initial: Gives the numbers of some rows of a trained parameter at the start; the model's own where nil.
    init(
        model: Transformer, objective: TrainingObjective, signGradient: SignGradient = .hard, tokens: TrainingCorpus,
        budget: TrainingBudget, optimizer: OptimizerSettings, precision: Precision = .float32, seed: UInt64,
        settings: some Encodable, inputs: [String: ContentDigest] = [:], execution: Execution,
        collective: Collective? = nil,
        initial: ((TrainedParameter, Range<Int>) throws -> Tensor)? = nil
    ) throws {
        try budget.validate(context: model.configuration.maximumPositions)
        steps = budget.steps(corpusTokens: tokens.count)
        try Self.validate(optimizer, execution)
        self.objective = objective
        self.budget = budget
        self.precision = precision
        self.execution = execution
        self.collective =
            collective
            ?? Collective(
                threads: execution.threads, parameters: model.configuration.parameterCount, device: execution.device)
        segments = try TokenSegments(
            tokens: tokens, length: budget.sequenceLength, seed: seed, prefetching: budget.batchSize)
        corpusTokens = tokens.count
        rates = optimizer.schedule(steps: steps)
        identity = try RunIdentity(settings, inputs: inputs, corpus: tokens.identity)
        let known = model.trainedParameters(optimizer.learningRates)
        trained = known.map(\.place)
        optimizerIndex = Dictionary(uniqueKeysWithValues: trained.enumerated().map { ($1, $0) })
        let places = Dictionary(uniqueKeysWithValues: known.map { ($0.parameter.name, $0.place) })
        // A small model's gradients are added up on this rank before they travel, once a step.
        let index = optimizerIndex
        // Matrices travel block by block; vectors are summed here in float32, and travel with the rest.
        let blocks =
            self.collective.isAlone
            ? model.blocks.map { $0.parameters.filter { model.parameters[$0].isDecayed }.compactMap { index[$0] } } : []
        self.optimizer = try ShardedOptimizer(
            known.map(\.parameter), settings: optimizer, signGradient: signGradient, group: execution.group,
            blocks: blocks, device: execution.device, keepsStateOnHost: execution.placement.keepsStateOnHost,
            exchangeType: model.productType, seed: seed,
            initial: initial ?? { parameter, rows in
                try model.parameters[places[parameter.name] ?? 0].value.numbers()
                    .narrowed(0, from: rows.lowerBound, length: rows.count)
            })
        self.model = model
    }

    /// - Throws: `RunError.invalidSetting`.
    private static func validate(_ optimizer: OptimizerSettings, _ execution: Execution) throws {
        func require(_ holds: Bool, _ name: String, _ value: some CustomStringConvertible, _ expected: String) throws {
            if !holds { throw RunError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        if let size = execution.microBatchSize { try require(size > 0, "micro-batch size", size, "a positive number") }
        try require(optimizer.warmupSteps >= 0, "warm-up steps", optimizer.warmupSteps, "zero or more")
        for (name, beta) in [("β₁", optimizer.beta1), ("β₂", optimizer.beta2)] {
            try require((0..<1).contains(beta), name, beta, "0 or more and below 1")
        }
        let (decay, clip) = (optimizer.weightDecay, optimizer.gradientClip)
        try require(decay >= 0 && decay.isFinite, "weight decay", decay, "zero or more")
        try require(clip > 0, "gradient clip", clip, "above zero")
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
    ///   - monitor: Watches the run.
    ///   - observe: Receives every step. When it throws, the state is saved and the error passed on.
    ///   - finish: Receives the trained model and the events of all steps; when it throws, the last state is saved too.
    /// - Returns: The events of all steps, those before a resumption included.
    func run(
        policy: CheckpointPolicy?,
        monitor: TrainingMonitor? = nil,
        observe: (TrainingEvent) throws -> Void,
        finish: (Transformer, [TrainingEvent]) throws -> Void = { _, _ in }
    ) throws -> [TrainingEvent] {
        let group = execution.group
        let identity =
            policy?.keepsBest == true ? identity.adding(monitor?.selectionIdentity ?? [:]) : identity
        let checkpoints = policy.map { TrainingCheckpoints(directory: $0.directory, identity: identity, group: group) }
        var events = try checkpoints?.begin(resumes: policy?.resumes == true, optimizer: optimizer) ?? []
        var saved = events.count
        var lastSave = ContinuousClock.now
        func save() throws {
            guard let checkpoints, saved < events.count else { return }
            try checkpoints.save(step: events.count, optimizer: optimizer)
            saved = events.count
            lastSave = .now
        }
        /// Keeps the checkpoint where the model, as the first rank judges it, is the best so far.
        func keepIfBest(_ perplexity: Double?) throws {
            let perplexity = try group.allGather([perplexity ?? 0])[0][0]
            guard let checkpoints, policy?.keepsBest == true else { return }
            guard perplexity < checkpoints.best?.perplexity ?? .infinity else { return }
            try save()
            try checkpoints.keep(.init(step: events.count, perplexity: perplexity))
        }
        func validate() throws {
            try phases.measure(.validation) {
                guard group.rank == 0 else { return try keepIfBest(nil) }
                try monitor?.validate(
                    after: events.count, model: TorchModel(current(), threads: execution.threads)
                ) { try keepIfBest($0.perplexity) }
            }
        }
        do {
            try execution.device.resetPeakMemory()
            try group.watchingForStops {
                group.open(step: events.count + 1)
                let isUnjudged = try monitor?.begin(
                    steps: steps, done: events.count, identity: identity,
                    parameters: model.configuration.parameterCount, records: group.rank == 0)
                if try group.allGather([isUnjudged == true ? 1 : 0])[0] == [1] { try validate() }
                while events.count < steps {
                    let begin = ContinuousClock.now
                    let isLate = policy.map { begin - lastSave > $0.longestInterval } ?? false
                    let (event, optimized) = try step(
                        events.count + 1, lossScale: precision.lossScale(after: events), asksToSave: isLate,
                        beforeMoving: { checkpoints?.finishReading() })
                    events.append(event)
                    group.open(step: events.count + 1)
                    try checkpoints?.append(event)
                    try monitor?.didStep(
                        metrics(of: event, optimized, seconds: (ContinuousClock.now - begin) / .seconds(1)))
                    try observe(event)
                    if monitor?.validates(at: event.step) == true { try validate() }
                    let isAsked = optimized.sums.last ?? 0 > 0
                    if let policy, event.step % policy.interval == 0 || isAsked, event.step < steps {
                        try phases.measure(.checkpoint) { try save() }
                    }
                    try checkpoints?.checkSaving()
                }
                if let best = checkpoints?.best, policy?.keepsBest == true, best.step < events.count {
                    // What is saved from here on would not be the last step's state.
                    try save()
                    try checkpoints?.restoreBest(optimizer)
                }
                try checkpoints?.finishSaving()
                model = try current()
                try finish(model, events)
            }
        } catch {
            let stop = try stopTogether(before: events.count + 1, because: error)
            if stop.savesState {
                if saved < events.count, group.rank == 0 { policy?.onStop(events.count) }
                try save()
            }
            do {
                try checkpoints?.finishSaving()
            } catch is CancellationError {
                // A checkpoint that needs a rank that is lost is given up, for the reason that the run is.
            }
            if error is CancellationError, let reason = stop.reason, stop.rank != group.rank {
                throw ProcessGroupError.peerFailed(rank: stop.rank, reason: reason)
            }
            throw error
        }
        return events
    }

    /// Agrees with the other ranks on why the run stops. All have made the same steps: a step is committed by all or by none.
    private func stopTogether(
        before step: Int, because error: any Error
    ) throws -> ProcessGroup.StopRequest {
        let group = execution.group
        // Where ranks are lost, what they had is too; a state that cannot be written is not tried again.
        let isLost = error is ProcessGroupError || error is FileError
        let request = ProcessGroup.StopRequest(
            rank: group.rank, step: step, reason: error is CancellationError ? nil : error.localizedDescription,
            savesState: group.size == 1 || !isLost)
        do {
            return try group.requestStop(request)
        } catch let lost where error is CancellationError {
            // The rank that serves the store has ended, which is why this one was cancelled.
            throw lost
        } catch {
            return request
        }
    }

    /// The numbers of a parameter of the model as it stands, by its place: of latent matrices, W.
    func numbers(of place: Int) throws -> Tensor {
        try optimizerIndex[place].map(optimizer.wholeValue) ?? model.parameters[place].value.numbers()
    }

    /// The model with the optimizer's values.
    private func current() throws -> Transformer {
        var values = model.parameters.map(\.value)
        for (value, place) in zip(optimizer.values, trained) { values[place] = value }
        return try model.with(values)
    }

    private func metrics(of event: TrainingEvent, _ optimized: OptimizerStep, seconds: Double) -> StepMetrics {
        let tokens = budget.tokensPerStep
        return StepMetrics(
            event: event, epoch: Double(event.step * tokens) / Double(corpusTokens),
            learningRates: Dictionary(
                uniqueKeysWithValues: Set(optimizer.parameters.map(\.group))
                    .map { ($0, optimizer.settings.learningRates[$0] * event.learningRateFactor) }),
            tokens: event.step * tokens, stepTokens: tokens, seconds: seconds, phases: phases.take(),
            turnedSigns: optimized.latentCount == 0
                ? nil : Double(optimized.turnedSigns) / Double(optimized.latentCount),
            operations: Double(tokens) * operationsPerToken,
            peakBytes: (try? execution.device.memory()?.peakReserved) ?? PeakMemory.bytes)
    }

    /// A forward pass, a backward pass of twice as much, and the teacher's forward pass.
    private var operationsPerToken: Double {
        let length = budget.sequenceLength
        let own = 3 * model.configuration.forwardOperations(sequenceLength: length)
        switch objective {
        case .nextToken: return own
        case .distillation(let teacher, _): return own + teacher.configuration.forwardOperations(sequenceLength: length)
        }
    }

    /// Makes a step. Where a gradient overflows float16, the step is tried again with a smaller loss scale.
    ///
    /// - Parameters:
    ///   - asksToSave: Whether this rank's clock says that a checkpoint is due. How many ranks ask is the last of the step's
    ///     sums, so that all of them save after the same step.
    ///   - beforeMoving: Waits until nobody reads the optimizer's state.
    private func step(
        _ number: Int, lossScale: Double, asksToSave: Bool, beforeMoving: () -> Void
    ) throws -> (event: TrainingEvent, optimized: OptimizerStep) {
        let model = try current()
        let own = try gradients(of: model, step: number, scale: lossScale)
        let factor = rates.factor(at: number)
        setOperationThreads(collective.threadsPerWorker)
        phases.measure(.checkpoint, beforeMoving)
        let made = try phases.measure(.optimizer) {
            // The optimizer asks for the loss once it has set the device to work on the gradients' norm.
            try optimizer.step(
                number, factor: factor, gradientScale: lossScale,
                summing: phases.measure(.backward, within: .optimizer) { try own.floats().map(Double.init) }
                    + [asksToSave ? 1 : 0]
            ) {
                try model.parameters[$0].value.numbers()
            }
        }
        let parts = Array(made.sums.dropLast())
        let loss = objective.total(parts: parts, sequenceLength: budget.sequenceLength)
        let named = Dictionary(uniqueKeysWithValues: zip(objective.partNames, parts))
        guard loss.isFinite else {
            let infinite = objective.partNames.filter { named[$0]?.isFinite == false }.joined(separator: ", ")
            throw TrainingError.notFinite(
                step: number, quantity: infinite.isEmpty ? "the loss" : "the loss (\(infinite))")
        }
        guard made.gradientNorm.isFinite else {
            if lossScale > 1 {
                execution.group.open(step: number)
                return try step(
                    number, lossScale: max(1, lossScale / 4), asksToSave: asksToSave, beforeMoving: beforeMoving)
            }
            throw TrainingError.notFinite(step: number, quantity: "the gradient")
        }
        let event = TrainingEvent(
            step: number, loss: loss, parts: named, learningRateFactor: factor, gradientNorm: made.gradientNorm,
            lossScale: precision == .float16 ? lossScale : nil)
        return (event, made)
    }

    /// Gives the optimizer the gradients of a step's batch.
    ///
    /// - Parameter scale: What they are multiplied by.
    /// - Returns: The parts of the loss, of this rank's micro-batches, which a device may still be computing.
    private func gradients(of model: Transformer, step number: Int, scale: Double) throws -> Tensor {
        optimizer.discardGradients()
        let (student, leaves) = try model.recordingGradients(of: Set(trained))
        let schedule = BlockSchedule(
            objective: objective, phases: phases,
            workers: min(
                collective.workers,
                execution.microBatches(of: budget.batchSize, sequenceLength: budget.sequenceLength).count),
            keptActivations: execution.keptActivations)
        let (segments, batchSize, index) = (segments, budget.batchSize, optimizerIndex)
        let rounds = execution.rounds(of: batchSize, sequenceLength: budget.sequenceLength)

        /// Lends sums, and takes gradients, by the optimizer's parameters.
        @Sendable func pass(
            _ sequences: Range<Int>, lend: BlockSchedule.Lender = { _ in nil }, receive: BlockSchedule.Receiver
        ) throws -> Tensor {
            let tokens = try segments.batch(
                from: (number - 1) * batchSize + sequences.lowerBound, count: sequences.count, device: student.device)
            return try schedule(
                student, leaves: leaves, tokens: tokens, share: Double(sequences.count) / Double(batchSize),
                scale: scale, lend: { try index[$0].flatMap(lend) },
                receive: { found in
                    try receive(found.compactMap { place, gradient in index[place].map { ($0, gradient) } })
                })
        }

        var parts: [Tensor] = []
        if collective.isAlone {
            // Gradients are as large as the model: each block's are added when they are there.
            setOperationThreads(collective.threadsPerWorker)
            for sequences in rounds {
                if let sequences {
                    parts.append(try pass(sequences, lend: optimizer.sum, receive: optimizer.add))
                } else {
                    try optimizer.addNothing()
                }
            }
        } else {
            // Added in the order of the micro-batches, whoever computed them: the number of workers changes no bit.
            let microBatches = rounds.compactMap(\.self)
            for first in stride(from: 0, to: microBatches.count, by: collective.workers) {
                let found = try collective.map(min(collective.workers, microBatches.count - first)) { worker in
                    var gradients: [(parameter: Int, gradient: Tensor)] = []
                    let losses = try pass(microBatches[first + worker]) { gradients += $0 }
                    return (losses: losses, gradients: gradients)
                }
                for (losses, gradients) in found {
                    parts.append(losses)
                    try optimizer.add(gradients)
                }
            }
        }
        guard let first = parts.first else { return try .zeros([objective.partNames.count]) }
        return try parts.dropFirst().reduce(first) { try $0 + $1 }
    }
}

/// `training_log.jsonl`: one line per step, without times, so that the same run gives the same bytes.
func trainingLog(_ events: [TrainingEvent]) throws -> Data {
    try events.reduce(into: Data()) { try $0.append(JSONEncoder.sorted.encode($1) + Data("\n".utf8)) }
}
