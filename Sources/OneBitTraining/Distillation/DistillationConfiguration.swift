import CorpusSynthesis
import Foundation
import ModelDescription
import ResumableRuns
import SignDecomposition
import Torch

/// Everything that decides what a distillation computes, besides teacher and corpus: where the student starts, the corpus
/// that the teacher writes for it, the loss, the optimizer, the budget, and the seed. Nothing in it says where the work is
/// done: that is ``Execution``.
public struct DistillationConfiguration: Sendable, Hashable, Codable {
    /// How the start checkpoint is made of the teacher.
    public var start: StartRecipe
    /// How the start is calibrated on the corpus; nil for a start from the teacher's weights alone.
    public var calibration: CalibrationSettings?
    /// How the teacher writes the corpus, where none is given.
    public var synthesis: SynthesisSettings
    public var loss: Loss
    public var optimizer: OptimizerSettings
    public var budget: TrainingBudget
    /// What passes compute in.
    public var precision: Precision
    /// Decides the order of the data.
    public var seed: UInt64

    /// The loss, and how it passes through the signs.
    public struct Loss: Sendable, Hashable, Codable {
        public var weights: LossWeights
        public var signGradient: SignGradient

        public init(weights: LossWeights, signGradient: SignGradient) {
            self.weights = weights
            self.signGradient = signGradient
        }
    }

    public init(
        start: StartRecipe, calibration: CalibrationSettings? = nil, synthesis: SynthesisSettings, loss: Loss,
        optimizer: OptimizerSettings, budget: TrainingBudget, precision: Precision = .float32, seed: UInt64
    ) {
        self.start = start
        self.calibration = calibration
        self.synthesis = synthesis
        self.loss = loss
        self.optimizer = optimizer
        self.budget = budget
        self.precision = precision
        self.seed = seed
    }

    /// The paper's method and budget (§4.1 and the released scripts): embeddings, head and norms frozen, 50 passes over
    /// 132,000 samples of up to 2,048 tokens. For LLaMA-7B these scripts take 128 sequences a step at a rate of 4e-4, for
    /// LLaMA-13B 64 at 2e-4, which larger models have here too.
    public static func paper(for teacher: ModelConfiguration, seed: UInt64 = 0) -> DistillationConfiguration {
        let isLarge = teacher.parameterCount >= 10_000_000_000
        let rate = isLarge ? 2e-4 : 4e-4
        return DistillationConfiguration(
            start: .paper,
            synthesis: .paper(for: teacher, seed: seed),
            loss: Loss(weights: LossWeights(klDivergence: 0.01, hiddenStates: 1), signGradient: .tanh),
            optimizer: OptimizerSettings(
                learningRates: LearningRates(latent: rate, scales: rate, embedding: 0, norm: 0)),
            budget: TrainingBudget(
                length: .epochs(50), batchSize: isLarge ? 64 : 128, sequenceLength: longestSequence(of: teacher)),
            seed: seed)
    }

    /// The best that this project has measured (dev/LOG.md) on small models: minutes on two cores for a few million
    /// parameters. Work grows with the model:
    ///
    ///     trained tokens   2 per parameter, what the paper's budget gives LLaMA-7B
    ///     tokens a step    2,048 · √(parameters / 4 M)
    ///     rate             6e-3 · (parameters / 4 M)^−0.3
    ///     corpus           a quarter of the trained tokens (`SynthesisSettings.default`)
    ///     moments          bfloat16 from 20 M parameters on
    ///
    /// none of them below what a model of four million parameters has, the rate not above it.
    public static func `default`(for teacher: ModelConfiguration, seed: UInt64 = 0) -> DistillationConfiguration {
        let length = longestSequence(of: teacher)
        let size = max(1, Double(teacher.parameterCount) / 4e6)
        let batch = max(
            defaultBatchSize(sequenceLength: length), Int((2048 * size.squareRoot() / Double(length)).rounded()))
        let steps = max(800, 2 * teacher.parameterCount / (batch * length))
        let rate = 6e-3 * pow(size, -0.3)
        var configuration = DistillationConfiguration(
            start: .standard,
            synthesis: .default(for: teacher, seed: seed),
            loss: Loss(weights: LossWeights(klDivergence: 0.01, hiddenStates: 1), signGradient: .hard),
            optimizer: OptimizerSettings(
                learningRates: LearningRates(latent: rate, scales: rate, embedding: rate, norm: rate)),
            budget: TrainingBudget(length: .steps(steps), batchSize: batch, sequenceLength: length),
            seed: seed)
        // Half the bytes of the moments, for 0.6 and 0.5 % of perplexity (stories260K, 300 steps, two seeds; dev/LOG.md).
        if teacher.parameterCount > 20_000_000 { configuration.optimizer.momentStorage = .bfloat16 }
        configuration.calibration = CalibrationPolicy.settings(for: configuration, teacher: teacher)
        return configuration
    }

    /// Sequences per step of the default preset for a small model: about 2,048 tokens' worth.
    public static func defaultBatchSize(sequenceLength: Int) -> Int { max(4, 2048 / sequenceLength) }

    /// The whole context up to the paper's 2,048. What a student has not been trained on it does badly: stories260K's
    /// student had perplexity 11.7 over its context of 512 when trained on 256, and 7.1 when trained on all of it
    /// (dev/LOG.md).
    private static func longestSequence(of teacher: ModelConfiguration) -> Int { min(2048, teacher.maximumPositions) }

    /// The part that the training itself computes with; start and corpus enter its identity by their contents.
    struct Training: Encodable {
        let loss: Loss
        let optimizer: OptimizerSettings
        let budget: TrainingBudget
        let precision: Precision
        let seed: UInt64
    }

    var training: Training {
        Training(loss: loss, optimizer: optimizer, budget: budget, precision: precision, seed: seed)
    }

    /// What identifies a whole compression with this configuration.
    ///
    /// - Parameters:
    ///   - teacher: The model that is compressed.
    ///   - corpus: The given files; none where the teacher writes the corpus.
    public func identity(teacher: Checkpoint, corpus: [CorpusSource]) throws -> RunIdentity {
        try RunIdentity(
            self, inputs: ["teacher": try ContentDigest(of: teacher)],
            corpus: corpus.isEmpty ? [:] : try CorpusSource.identity(of: corpus))
    }
}
