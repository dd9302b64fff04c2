import ArgumentParser
import Foundation
import ModelDescription
import OneBitTraining
import SignDecomposition
import Torch

extension SignGradient: ExpressibleByArgument {}
extension ValueStorage: ExpressibleByArgument {}
extension MomentStorage: ExpressibleByArgument {}
extension Precision: ExpressibleByArgument {}
extension SignProducts: ExpressibleByArgument {}

extension RecipeName {
    /// The preset for a teacher.
    func configuration(for teacher: ModelConfiguration, seed: UInt64) -> DistillationConfiguration {
        switch self {
        case .paper: .paper(for: teacher, seed: seed)
        case .default: .default(for: teacher, seed: seed)
        }
    }
}

/// How much is trained on.
struct BudgetOptions: ParsableArguments {
    @Option(help: "Optimizer steps.")
    var steps: Int?

    @Option(help: "Passes over the corpus, in place of --steps.")
    var epochs: Double?

    @Option(
        help: ArgumentHelp(
            "Sequences per step.",
            discussion:
                "The paper's recipe takes 128, or 64 for models of 10 billion parameters or more; the default one "
                + "about 2,048 tokens' worth."))
    var batchSize: Int?

    @Option(help: "Tokens per sequence; the model's context, 2,048 at the most, unless given.")
    var sequenceLength: Int?

    func validate() throws {
        if steps != nil, epochs != nil { throw ValidationError("Give --steps or --epochs, not both.") }
        if let steps, steps < 1 { throw ValidationError("--steps must be 1 or more.") }
        if let epochs, !(epochs > 0) || !epochs.isFinite { throw ValidationError("--epochs must be above zero.") }
        if let batchSize, batchSize < 1 { throw ValidationError("--batch-size must be 1 or more.") }
        if let sequenceLength, sequenceLength < 2 { throw ValidationError("--sequence-length must be 2 or more.") }
    }

    /// Which of them were made.
    var fixed: TimeBudget.Fixed {
        TimeBudget.Fixed(
            steps: steps != nil || epochs != nil, batchSize: batchSize != nil, sequenceLength: sequenceLength != nil)
    }

    /// Puts these choices in place of a preset's.
    func apply(to budget: inout TrainingBudget, of recipe: RecipeName) {
        if let steps { budget.length = .steps(steps) }
        if let epochs { budget.length = .epochs(epochs) }
        if let sequenceLength {
            budget.sequenceLength = sequenceLength
            if recipe == .default {
                budget.batchSize = DistillationConfiguration.defaultBatchSize(sequenceLength: sequenceLength)
            }
        }
        if let batchSize { budget.batchSize = batchSize }
    }
}

/// What a distillation trains.
enum TrainedParameters: String, ExpressibleByArgument, CaseIterable {
    /// Signs and value vectors of the OneBit layers.
    case layers
    /// Embeddings, norms and output head too.
    case everything
}

/// Loss and optimizer.
struct MethodOptions: ParsableArguments {
    @Option(help: "Gradient of the sign: tanh (the paper's 1.001 − tanh²) or hard (1 where |w| < 1).")
    var signGradient: SignGradient?

    @Option(help: "Weight of the KL divergence, summed over tokens and divided by the sequences of a batch.")
    var klWeight: Double?

    @Option(help: "Weight α of the hidden states' loss.")
    var hiddenWeight: Double?

    @Option(help: "Weight of the difference of attention maps, which the paper tries and leaves out.")
    var attentionWeight: Double?

    @Option(help: "Weight of the language-modeling loss on the corpus itself.")
    var languageModelWeight: Double?

    @Option(
        help: ArgumentHelp(
            "What passes compute in.",
            discussion:
                "On the CPU float32, on another device bfloat16, unless given. Norms, losses and sums of gradients are in "
                + "float32 whatever it is."))
    var precision: Precision?

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

    @Option(help: "AdamW's weight decay, of matrices.")
    var weightDecay: Double?

    @Option(help: "Largest norm of the gradients.")
    var gradientClip: Double?

    @Option(
        help: ArgumentHelp(
            "How latent matrices are kept between steps.",
            discussion: "bfloat16 is rounded up or down at random, so that the mean is right.", valueName: "form"))
    var latentStorage: ValueStorage?

    @Option(
        help: ArgumentHelp(
            "How AdamW's moments are kept between steps.",
            discussion: "blocks is 8 bits an element and a scale for 256; both it and bfloat16 are rounded at random.",
            valueName: "form"))
    var momentStorage: MomentStorage?

    func validate() throws {
        for (option, value) in [
            ("--kl-weight", klWeight), ("--hidden-weight", hiddenWeight), ("--attention-weight", attentionWeight),
            ("--language-model-weight", languageModelWeight), ("--learning-rate", learningRate),
            ("--latent-learning-rate", latentLearningRate), ("--scales-learning-rate", scalesLearningRate),
            ("--embedding-learning-rate", embeddingLearningRate), ("--norm-learning-rate", normLearningRate),
            ("--weight-decay", weightDecay),
        ] {
            try check(option, value, "0 or more") { $0 >= 0 }
        }
        for (option, value) in [("--beta1", beta1), ("--beta2", beta2)] {
            try check(option, value, "0 or more and below 1") { (0..<1).contains($0) }
        }
        try check("--gradient-clip", gradientClip, "above 0") { $0 > 0 }
        try check("--warmup", warmup, "0 or more") { $0 >= 0 }
    }

    /// Puts these choices in place of a preset's.
    ///
    /// - Parameter isAccelerated: Whether another device than the CPU computes, whose products take a tenth of the time in 16
    ///   bits.
    func apply(to configuration: inout DistillationConfiguration, isAccelerated: Bool) {
        func set<Value>(_ path: WritableKeyPath<DistillationConfiguration, Value>, _ value: Value?) {
            if let value { configuration[keyPath: path] = value }
        }
        set(\.loss.signGradient, signGradient)
        set(\.loss.weights.klDivergence, klWeight)
        set(\.loss.weights.hiddenStates, hiddenWeight)
        set(\.loss.weights.attentionMaps, attentionWeight)
        set(\.loss.weights.languageModel, languageModelWeight)
        set(\.precision, precision ?? (isAccelerated ? .bfloat16 : nil))
        applyLearningRates(to: &configuration.optimizer.learningRates)
        set(\.optimizer.warmupSteps, warmup)
        set(\.optimizer.beta1, beta1)
        set(\.optimizer.beta2, beta2)
        set(\.optimizer.weightDecay, weightDecay)
        set(\.optimizer.gradientClip, gradientClip)
        set(\.optimizer.latentStorage, latentStorage)
        set(\.optimizer.momentStorage, momentStorage)
    }

    private func applyLearningRates(to rates: inout LearningRates) {
        if let learningRate {
            let trainsAll = rates.embedding > 0
            rates = LearningRates(
                latent: learningRate, scales: learningRate, embedding: trainsAll ? learningRate : 0,
                norm: trainsAll ? learningRate : 0)
        }
        switch train {
        case .layers: (rates.embedding, rates.norm) = (0, 0)
        case .everything:
            if rates.embedding == 0 { rates.embedding = rates.scales }
            if rates.norm == 0 { rates.norm = rates.scales }
        case nil: break
        }
        if let latentLearningRate { rates.latent = latentLearningRate }
        if let scalesLearningRate { rates.scales = scalesLearningRate }
        if let embeddingLearningRate { rates.embedding = embeddingLearningRate }
        if let normLearningRate { rates.norm = normLearningRate }
    }
}

/// How a long run keeps its state.
struct ResumeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Steps between two training checkpoints; there is one every 15 minutes besides.", valueName: "n"))
    var checkpointEvery = 100

    @Flag(help: "Go on where a stopped run left off.")
    var resume = false

    func validate() throws {
        if checkpointEvery < 1 { throw ValidationError("--checkpoint-every must be 1 or more.") }
    }

    /// Checkpoints in a directory; what a stopped run does before it ends is printed.
    func policy(in directory: URL, keepsBest: Bool = false) -> CheckpointPolicy {
        CheckpointPolicy(directory: directory, interval: checkpointEvery, resumes: resume, keepsBest: keepsBest) {
            steps in
            ProgressDisplay.endOpenLine()
            StandardStreams.writeError("stopped; saving the state after step \(steps) for --resume\n")
        }
    }
}

/// Where a training computes; a run may be resumed with other choices.
struct ExecutionOptions: ParsableArguments {
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var device: DeviceOptions

    @Option(
        help: ArgumentHelp(
            "Sequences of one forward and backward pass; gradients are accumulated over as many passes as a step needs.",
            discussion: "About 1,024 tokens' worth, unless given. Fewer save memory.", valueName: "n"))
    var microBatchSize: Int?

    @Option(
        help: ArgumentHelp(
            "How products with signs are computed: by look-ups where that is faster, or always by products of floats.",
            discussion: "Look-ups take their inputs to 16 bits, which changes a gradient by about 1e-4."))
    var signProducts = SignProducts.fastest

    func validate() throws {
        if let microBatchSize, microBatchSize < 1 { throw ValidationError("--micro-batch-size must be 1 or more.") }
    }

    /// To be asked for before any tensor is made.
    var execution: Execution {
        get throws {
            Execution(
                threads: threads.threads, microBatchSize: microBatchSize, signProducts: signProducts,
                device: try device.select())
        }
    }
}

extension TrainingError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .shapesDiffer: "Make the start checkpoint from this teacher with `onebit init`."
        case .corpusTooShort: nil
        case .notFinite: "Lower the learning rate, and check the teacher with `onebit perplexity`."
        case .emptyCorpus, .malformedCorpus, .noMetrics, .damagedTokenFile, .ranksDisagree, .directoryNotShared: nil
        }
    }
}
