/// Everything about distillation that is a matter of method and not of budget.
public struct DistillationRecipe: Sendable, Hashable, Codable {
    public var signGradient: SignGradient
    public var lossWeights: LossWeights
    public var optimizer: OptimizerSettings
    /// Warm-up steps, but never more than a tenth of the run.
    public var warmupSteps: Int

    public init(signGradient: SignGradient, lossWeights: LossWeights, optimizer: OptimizerSettings, warmupSteps: Int) {
        self.signGradient = signGradient
        self.lossWeights = lossWeights
        self.optimizer = optimizer
        self.warmupSteps = warmupSteps
    }

    /// The training run that the recipe makes of a budget.
    ///
    /// - Parameters:
    ///   - budget: Steps, batch and sequence length.
    ///   - threads: Threads in all; as many as there are cores where nil.
    ///   - parameters: Parameters of the student.
    public func plan(budget: TrainingBudget, threads: Int?, parameters: Int) -> TrainingPlan {
        TrainingPlan(
            budget: budget, warmupSteps: warmupSteps, optimizer: optimizer,
            parallelism: Parallelism(threads: threads, parameters: parameters))
    }

    /// The paper's (§4.1 and the released code): embeddings, head and norms frozen; the rate is LLaMA-7B's.
    public static let paper = DistillationRecipe(
        signGradient: .tanh,
        lossWeights: LossWeights(klDivergence: 0.01, hiddenStates: 1),
        optimizer: OptimizerSettings(learningRates: LearningRates(latent: 4e-4, scales: 4e-4, embedding: 0, norm: 0)),
        warmupSteps: 500
    )

    /// The best that we have measured (dev/LOG.md).
    public static let `default` = DistillationRecipe(
        signGradient: .hard,
        lossWeights: LossWeights(klDivergence: 0.01, hiddenStates: 1),
        optimizer: OptimizerSettings(learningRates: LearningRates(all: 6e-3)),
        warmupSteps: 500
    )
}
