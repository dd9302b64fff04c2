import Foundation

/// How long, on how much and how fast a model is trained.
public struct TrainingPlan: Sendable, Hashable, Codable {
    public var budget: TrainingBudget
    /// Steps over which the learning rate rises from zero.
    public var warmupSteps: Int
    public var optimizer: OptimizerSettings
    /// Part of the plan, for the order in which gradients are added decides their last bits.
    public var parallelism: Parallelism

    /// - Parameters:
    ///   - budget: Steps, batch and sequence length.
    ///   - warmupSteps: Cut down to a tenth of the run where they are more.
    ///   - optimizer: AdamW's settings.
    ///   - parallelism: How the cores are shared out.
    public init(
        budget: TrainingBudget, warmupSteps: Int, optimizer: OptimizerSettings, parallelism: Parallelism
    ) {
        self.budget = budget
        self.parallelism = parallelism
        self.warmupSteps = min(warmupSteps, budget.steps / 10)
        self.optimizer = optimizer
    }

    /// - Throws: ``TrainingError/invalidSetting(name:value:expected:)``.
    func validate(context: Int) throws {
        func require(_ holds: Bool, _ name: String, _ value: some CustomStringConvertible, _ expected: String) throws {
            if !holds { throw TrainingError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        let (steps, batchSize, accumulation) = (budget.steps, budget.batchSize, budget.accumulation)
        let sequenceLength = budget.sequenceLength
        try require(steps > 0, "steps", steps, "a positive number")
        try require(batchSize > 0, "batch size", batchSize, "a positive number")
        try require(accumulation > 0, "accumulation", accumulation, "a positive number")
        try require(
            batchSize % accumulation == 0, "accumulation", accumulation, "a divisor of the batch size \(batchSize)")
        try require(sequenceLength > 1, "sequence length", sequenceLength, "2 tokens or more")
        try require(
            sequenceLength <= context, "sequence length", sequenceLength, "at most the model's context of \(context)")
        try require(warmupSteps >= 0, "warm-up steps", warmupSteps, "zero or more")
        for group in ParameterGroup.allCases {
            let rate = optimizer.learningRates[group]
            try require(rate >= 0 && rate.isFinite, "learning rate of \(group.rawValue)", rate, "zero or more")
        }
    }
}

/// What one optimiser step did.
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
