import ArgumentParser
import OneBitTraining

extension SignGradient: ExpressibleByArgument {}
extension SynthesisSettings.FirstToken: ExpressibleByArgument {}

/// What a distillation trains.
enum TrainedParameters: String, ExpressibleByArgument, CaseIterable {
    /// Signs and value vectors of the OneBit layers.
    case layers
    /// Embeddings, norms and output head too.
    case everything
}

/// Two presets of the method, and every choice of them for itself.
struct DistillationOptions: ParsableArguments {
    @Option(help: "Gradient of the sign: tanh (the paper's 1.001 − tanh²) or hard (1 where |w| < 1).")
    var signGradient: SignGradient?

    @Option(help: "Weight of the KL divergence, summed over tokens and divided by the sequences of a batch.")
    var klWeight: Double?

    @Option(help: "Weight α of the hidden states' loss.")
    var hiddenWeight: Double?

    @Option(help: "Weight of the language-modelling loss on the corpus itself.")
    var languageModelWeight: Double?

    @Option(help: "What is trained: the OneBit layers, or everything.")
    var train: TrainedParameters?

    @Option(help: "Peak learning rate of everything that is trained.")
    var learningRate: Double?

    @Option(help: "Peak learning rate of the latent matrices.")
    var latentLearningRate: Double?

    @Option(help: "Peak learning rate of the value vectors g and h.")
    var scalesLearningRate: Double?

    @Option(help: "Peak learning rate of embeddings and output head.")
    var embeddingLearningRate: Double?

    @Option(help: "Peak learning rate of the norms.")
    var normLearningRate: Double?

    @Option(help: "Warm-up steps, at most a tenth of the run.")
    var warmup: Int?

    @Option(help: "AdamW's β₁.")
    var beta1: Double?

    @Option(help: "AdamW's β₂.")
    var beta2: Double?

    @Option(help: "AdamW's weight decay.")
    var weightDecay: Double?

    @Option(help: "Largest norm of the gradients.")
    var gradientClip: Double?

    /// The recipe with these choices in place of its own.
    func applied(to preset: DistillationRecipe) -> DistillationRecipe {
        var recipe = preset
        func set<Value>(_ path: WritableKeyPath<DistillationRecipe, Value>, _ value: Value?) {
            if let value { recipe[keyPath: path] = value }
        }
        set(\.signGradient, signGradient)
        set(\.lossWeights.klDivergence, klWeight)
        set(\.lossWeights.hiddenStates, hiddenWeight)
        set(\.lossWeights.languageModel, languageModelWeight)
        if let learningRate {
            let trainsAll = recipe.optimizer.learningRates.embedding > 0
            recipe.optimizer.learningRates = LearningRates(
                latent: learningRate, scales: learningRate, embedding: trainsAll ? learningRate : 0,
                norm: trainsAll ? learningRate : 0)
        }
        switch train {
        case .layers:
            recipe.optimizer.learningRates.embedding = 0
            recipe.optimizer.learningRates.norm = 0
        case .everything:
            let rates = recipe.optimizer.learningRates
            if rates.embedding == 0 { recipe.optimizer.learningRates.embedding = rates.scales }
            if rates.norm == 0 { recipe.optimizer.learningRates.norm = rates.scales }
        case nil: break
        }
        set(\.optimizer.learningRates.latent, latentLearningRate)
        set(\.optimizer.learningRates.scales, scalesLearningRate)
        set(\.optimizer.learningRates.embedding, embeddingLearningRate)
        set(\.optimizer.learningRates.norm, normLearningRate)
        set(\.warmupSteps, warmup)
        set(\.optimizer.beta1, beta1)
        set(\.optimizer.beta2, beta2)
        set(\.optimizer.weightDecay, weightDecay)
        set(\.optimizer.gradientClip, gradientClip)
        return recipe
    }
}

/// How a long run keeps its state.
struct ResumeOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Steps between two training checkpoints.", valueName: "n"))
    var checkpointEvery = 100

    @Flag(help: "Go on where a stopped run left off.")
    var resume = false

    func validate() throws {
        if checkpointEvery < 1 { throw ValidationError("--checkpoint-every must be 1 or more.") }
    }
}
