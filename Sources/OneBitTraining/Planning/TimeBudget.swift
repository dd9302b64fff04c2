import CorpusSynthesis
import Foundation
import ModelDescription

/// How fast this machine does each part of a compression, measured on the model itself.
public struct StageRates: Sendable, Hashable, Codable {
    /// Tokens a second that the teacher writes; nil where the corpus is given.
    public var synthesizedTokens: Double?
    /// Tokens a second of forward and backward passes.
    public var trainedTokens: Double
    /// Seconds of one optimizer step.
    public var optimizerSeconds: Double
    /// Seconds of everything else: reading the models, the start, packing, evaluation.
    public var otherSeconds: Double

    public init(
        synthesizedTokens: Double?, trainedTokens: Double, optimizerSeconds: Double, otherSeconds: Double
    ) {
        self.synthesizedTokens = synthesizedTokens
        self.trainedTokens = trainedTokens
        self.optimizerSeconds = optimizerSeconds
        self.otherSeconds = otherSeconds
    }

    /// Seconds of so many steps.
    public func trainingSeconds(_ budget: TrainingBudget, steps: Int) -> Double {
        Double(steps) * (Double(budget.tokensPerStep) / trainedTokens + optimizerSeconds)
    }

    /// Seconds in which teacher, start and packed model read a text of so many tokens: each about a fifth of what training
    /// on it takes (2 N of 10 N operations a token).
    public func evaluationSeconds(tokens: Int) -> Double { 3 * 0.2 * Double(tokens) / trainedTokens }
}

/// Fits the work of a compression into a time.
///
/// With a corpus that the teacher writes, its N tokens are read in four passes, up to which repeated text is worth nearly
/// as much as new (Muennighoff et al. 2023, "Scaling Data-Constrained Language Models"):
///
///     seconds = other + N / synthesized + 4 N / trained
///
/// Sequences are as long as leaves a run of `fewestSteps` steps, but no shorter than `shortestSequence`.
public struct TimeBudget: Sendable, Hashable {
    /// Passes over a corpus that the teacher writes.
    static let passes = 4.0
    /// A shorter run is all warm-up and decay.
    static let fewestSteps = 300
    static let shortestSequence = 256
    /// Share of the time that is planned for: rates vary, and a run that ends late misses what the budget was for.
    public static let plannedShare = SynthesisRate.plannedShare
    /// Share of the time that is spent on judging the result.
    static let evaluationShare = 0.1
    /// On fewer tokens a perplexity says little.
    static let fewestEvaluatedTokens = 16_384

    public var seconds: Double

    public init(seconds: Double) { self.seconds = seconds }

    /// Tokens of a text of `tokens` that leave the time to the training.
    public func evaluatedTokens(of tokens: Int, rates: StageRates) -> Int {
        let fitting = seconds * Self.evaluationShare / rates.evaluationSeconds(tokens: 1)
        return min(tokens, max(Self.fewestEvaluatedTokens, Int(min(fitting, 1e9))))
    }

    /// The configuration with samples, sequence length and steps that fit.
    ///
    /// - Parameters:
    ///   - configuration: As it would be without a limit. It is an upper bound: a small model ends early.
    ///   - model: The teacher.
    ///   - rates: What this machine does.
    ///   - corpusTokens: Tokens of a given corpus; nil where the teacher writes it.
    ///   - fixed: What the user has chosen.
    /// - Throws: ``PlanError/notEnoughTime(budget:needed:for:)`` where not ten steps fit.
    public func fit(
        _ configuration: DistillationConfiguration, model: ModelConfiguration, rates: StageRates, corpusTokens: Int?,
        fixed: Fixed = Fixed()
    ) throws -> DistillationConfiguration {
        let available = seconds * Self.plannedShare - rates.otherSeconds
        guard available > 0 else {
            throw PlanError.notEnoughTime(budget: seconds, needed: rates.otherSeconds, for: "all but the training")
        }
        var result = configuration
        // Time per trained token, its share of the corpus included.
        var perToken = 1 / rates.trainedTokens
        if corpusTokens == nil, let written = rates.synthesizedTokens { perToken += 1 / (Self.passes * written) }
        let wantedSteps = configuration.budget.steps(
            corpusTokens: corpusTokens ?? configuration.synthesis.samples * configuration.synthesis.maximumLength)

        if !fixed.sequenceLength {
            let longest = configuration.budget.sequenceLength
            var length = longest
            while length / 2 >= Self.shortestSequence,
                steps(length, available, perToken, rates, fixed, configuration) < Self.fewestSteps
            {
                length /= 2
            }
            result.budget.sequenceLength = length
        }
        let length = result.budget.sequenceLength
        if !fixed.batchSize {
            result.budget.batchSize = batchSize(
                length, available, perToken, rates, limit: configuration.budget.tokensPerStep)
        }
        let perStep = Double(result.budget.tokensPerStep)
        let possible = Int(available / (perStep * perToken + rates.optimizerSeconds))
        guard fixed.steps || possible >= 10 else {
            throw PlanError.notEnoughTime(
                budget: seconds,
                needed: (rates.otherSeconds + 10 * (perStep * perToken + rates.optimizerSeconds)) / Self.plannedShare,
                for: "a run of ten steps")
        }
        if !fixed.steps {
            // Scaled by tokens: a smaller batch takes more steps for the same text.
            let wantedTokens = Double(wantedSteps) * Double(configuration.budget.tokensPerStep)
            result.budget.length = .steps(max(1, min(possible, Int((wantedTokens / perStep).rounded(.up)))))
        }
        if corpusTokens == nil {
            let trained = Double(fixed.steps ? wantedSteps : result.budget.steps(corpusTokens: 0)) * perStep
            let corpus = max(Double(4 * length), trained / Self.passes)
            if !fixed.sampleLength { result.synthesis.maximumLength = min(result.synthesis.maximumLength, length) }
            if !fixed.samples {
                let samples = Int((corpus / Double(result.synthesis.maximumLength)).rounded(.up))
                result.synthesis.samples = max(8, min(result.synthesis.samples, samples))
            }
        }
        return result
    }

    /// What a user has chosen, which a budget must not change.
    public struct Fixed: Sendable, Hashable {
        public var steps = false
        public var batchSize = false
        public var sequenceLength = false
        public var samples = false
        public var sampleLength = false

        public init(
            steps: Bool = false, batchSize: Bool = false, sequenceLength: Bool = false, samples: Bool = false,
            sampleLength: Bool = false
        ) {
            self.steps = steps
            self.batchSize = batchSize
            self.sequenceLength = sequenceLength
            self.samples = samples
            self.sampleLength = sampleLength
        }
    }

    /// Steps that fit with the smallest batch of sequences of a length.
    private func steps(
        _ length: Int, _ available: Double, _ perToken: Double, _ rates: StageRates, _ fixed: Fixed,
        _ configuration: DistillationConfiguration
    ) -> Int {
        let batch =
            fixed.batchSize
            ? configuration.budget.batchSize : DistillationConfiguration.defaultBatchSize(sequenceLength: length)
        return Int(available / (Double(batch * length) * perToken + rates.optimizerSeconds))
    }

    /// The preset's sequences, `limit` tokens of them, where that leaves four times ``fewestSteps`` steps; else the largest
    /// batch that does, doubled from about 2,048 tokens.
    private func batchSize(
        _ length: Int, _ available: Double, _ perToken: Double, _ rates: StageRates, limit: Int
    ) -> Int {
        func leavesSteps(_ size: Int) -> Bool {
            available / (Double(size * length) * perToken + rates.optimizerSeconds) >= Double(4 * Self.fewestSteps)
        }
        var size = DistillationConfiguration.defaultBatchSize(sequenceLength: length)
        let preset = max(size, limit / length)
        if leavesSteps(preset) { return preset }
        while 2 * size <= preset, leavesSteps(2 * size) { size *= 2 }
        return size
    }
}
