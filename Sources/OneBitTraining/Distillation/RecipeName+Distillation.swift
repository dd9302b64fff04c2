import SignDecomposition

/// What each preset means for distillation. What it means for the start checkpoint stands in `SignDecomposition`.
extension RecipeName {
    /// Loss, gradient and optimiser.
    public var distillation: DistillationRecipe {
        switch self {
        case .paper: .paper
        case .default: .default
        }
    }

    /// Tokens per training sequence: the whole context up to the paper's 2,048. What a student has not been trained on it
    /// does badly: stories260K's student had perplexity 11.7 over its context of 512 when trained on 256, and 7.1 when
    /// trained on all of it (dev/LOG.md).
    public func sequenceLength(context: Int) -> Int { min(2048, context) }

    /// Sequences per optimiser step.
    public func batchSize(sequenceLength: Int) -> Int {
        switch self {
        case .paper: 8
        case .default: max(4, 2048 / sequenceLength)
        }
    }

    /// How long a student is trained. The default is minutes on two cores for a model of a few million parameters.
    public var trainingLength: TrainingLength {
        switch self {
        case .paper: .epochs(50)
        case .default: .steps(800)
        }
    }

    /// Samples that the teacher writes.
    public var samples: Int {
        switch self {
        case .paper: 132_000
        case .default: 2000
        }
    }

    /// How a sample begins.
    public var firstToken: SynthesisSettings.FirstToken {
        switch self {
        case .paper: .uniform
        case .default: .model
        }
    }
}

/// The length of a training run.
public enum TrainingLength: Sendable, Hashable {
    case steps(Int)
    /// Passes over the corpus.
    case epochs(Double)

    /// Optimiser steps over a corpus of `tokens`, with `tokensPerStep` each.
    public func steps(tokens: Int, tokensPerStep: Int) -> Int {
        switch self {
        case .steps(let steps): steps
        case .epochs(let epochs): max(1, Int((Double(tokens) * epochs / Double(tokensPerStep)).rounded(.up)))
        }
    }
}
