import LanguageModel
import ModelDescription
import ResumableRuns
import TensorFiles

/// What a pretraining takes, before it begins.
public struct PretrainingPlan: Sendable, Hashable, Codable {
    /// Bytes of the process at its peak.
    public let memoryBytes: Int
    /// Bytes of one training checkpoint: weights and both moments in float32.
    public let checkpointBytes: Int
    /// Of a step, measured on a model of this shape.
    public let cost: StepCost
    private let budget: TrainingBudget

    /// Measures a step, in seconds.
    ///
    /// - Throws: `RunError.invalidSetting`; `LanguageModelError.notEnoughMemory` before a model is
    ///   made that does not fit; `CancellationError`.
    public init(
        model: ModelConfiguration, budget: TrainingBudget, optimizer: OptimizerSettings, execution: Execution
    ) throws {
        try budget.validate(context: model.maximumPositions)
        self.budget = budget
        memoryBytes = Self.memoryBytes(model, budget, execution)
        checkpointBytes = 12 * model.parameterCount
        try AvailableMemory.require(memoryBytes, for: "the training")
        let device = execution.device
        let collective = Collective(threads: execution.threads, parameters: model.parameterCount, device: device)
        let measured = try Pretrainer(configuration: model, elementType: .bfloat16, seed: 0, device: device)
            .measureStep(
                optimizer: optimizer, length: min(512, budget.sequenceLength), threads: collective.threadsPerWorker)
        cost = StepCost(
            secondsPerToken: measured.secondsPerToken / Double(collective.workers),
            optimizerSeconds: measured.optimizerSeconds)
    }

    /// Seconds of one step.
    public var stepSeconds: Double {
        Double(budget.tokensPerStep) * cost.secondsPerToken + cost.optimizerSeconds
    }

    /// Steps that fit into a time.
    ///
    /// - Throws: ``PlanError/notEnoughTime(budget:needed:for:)`` where not ten do.
    public func steps(in seconds: Double) throws -> Int {
        let possible = seconds * TimeBudget.plannedShare / stepSeconds
        guard possible >= 10 else {
            throw PlanError.notEnoughTime(
                budget: seconds, needed: 10 * stepSeconds / TimeBudget.plannedShare, for: "a run of ten steps")
        }
        return Int(min(possible, 1e9))
    }

    /// Weights, gradient sums and two moments in float32, and of each worker a pass: block inputs, the activations that are
    /// kept (``BlockSchedule``), logits of a chunk and the gradients that it hands in.
    private static func memoryBytes(_ model: ModelConfiguration, _ budget: TrainingBudget, _ execution: Execution)
        -> Int
    {
        let batches = execution.microBatches(of: budget.batchSize, sequenceLength: budget.sequenceLength)
        let tokens = (batches.map(\.count).max() ?? 1) * budget.sequenceLength
        let collective = Collective(threads: execution.threads, parameters: model.parameterCount)
        let workers = min(collective.workers, batches.count)
        let numbers = model.linears.reduce(0) { $0 + $1.inputs + $1.outputs }
        let activations = min(2 * 4 * tokens * numbers, 128 << 20) + 2 * 4 * tokens * numbers / model.layerCount
        let inputs = 4 * tokens * model.hiddenSize * (model.layerCount + 1)
        let logitsAtATime = BlockSchedule.logitsAtATime(isAccelerated: execution.device != .cpu)
        let rows = min(tokens, max(1, logitsAtATime / model.vocabularySize))
        let logits = 2 * 4 * rows * model.vocabularySize
        let gradients = 4 * model.parameterCount
        return 16 * model.parameterCount + workers * (activations + inputs + logits + gradients) + (200 << 20)
    }
}

extension Pretrainer {
    /// What a step of this model costs on this machine, measured on one sequence.
    func measureStep(optimizer: OptimizerSettings, length: Int, threads: Int) throws -> StepCost {
        try StepProbe.cost(
            model, objective: .nextToken, optimizer: optimizer, signGradient: .hard, shape: .init(length: length),
            threads: threads)
    }
}
