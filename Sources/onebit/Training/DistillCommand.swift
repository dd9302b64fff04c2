import ArgumentParser
import Foundation
import ModelDescription
import OneBitTraining
import SignDecomposition
import TensorFiles
import Tokenization

struct DistillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "distill",
        abstract: "Train the start checkpoint to say what the teacher says.",
        discussion: """
            Writes the trained student as a float checkpoint, with training_log.jsonl beside it. A stopped run leaves its \
            training checkpoints in OUTPUT.training; with --resume it goes on from there and ends in the same bytes as \
            an unbroken one.

            EXAMPLES
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --recipe paper --epochs 50
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --resume
            """
    )

    @Argument(help: "Directory of the teacher.")
    var teacher: URL

    @Option(help: "Directory of the start checkpoint, from onebit init with the same --recipe.")
    var start: URL

    @Option(help: "Corpus: lines of {\"text\": …} or {\"tokens\": […]}.")
    var corpus: URL

    @Option(help: "Preset of the method.")
    var recipe = RecipeName.default

    @OptionGroup var output: OutputOptions
    @OptionGroup(title: "Budget") var budget: BudgetOptions
    @OptionGroup(title: "Method") var options: DistillationOptions
    @OptionGroup(title: "Run") var resumption: ResumeOptions
    @OptionGroup var seed: SeedOption
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var progress: ProgressOptions

    func run() throws {
        let teacher = try Checkpoint(directory: teacher)
        let start = try Checkpoint(directory: start)
        let tokens = try Corpus.tokens(of: corpus, tokenizer: try loadTokenizer(from: teacher.directory))
        try distill(
            teacher: teacher, start: start, tokens: tokens,
            recipe: options.applied(to: recipe.distillation),
            budget: budget.budget(
                for: recipe, tokens: tokens.count, context: teacher.configuration.maximumPositions, seed: seed.seed),
            threads: threads.threads, output: output.output, overwrite: output.overwrite,
            resumption: resumption, progress: progress)
    }
}

/// Distils with progress, keeping the training checkpoints beside the output until it stands.
func distill(
    teacher: Checkpoint, start: Checkpoint, tokens: [Int32], recipe: DistillationRecipe, budget: TrainingBudget,
    threads: Int?, output: URL, overwrite: Bool, resumption: ResumeOptions, progress: ProgressOptions
) throws {
    let work = output.deletingLastPathComponent().appending(path: output.lastPathComponent + ".training")
    let distiller = try Distiller(teacher: teacher, start: start, recipe: recipe)
    if !progress.quiet { StandardStreams.writeError(distiller.cost(of: budget, corpusTokens: tokens.count)) }
    let meter = progress.meter("distill", total: budget.steps * budget.tokensPerStep, unit: "tokens")
    try distiller.run(
        corpus: tokens,
        budget: budget,
        threads: threads,
        output: output,
        overwrite: overwrite,
        checkpoints: CheckpointPolicy(
            directory: work, interval: resumption.checkpointEvery, resumes: resumption.resume)
    ) { event in
        meter.update(done: event.step * budget.tokensPerStep, note: event.summary)
        try Task.checkCancellation()
    }
    meter.finish()
    if FileManager.default.fileExists(atPath: work.path) { try FileManager.default.removeItem(at: work) }
}

extension Distiller {
    /// What a run will take, said before it begins.
    func cost(of budget: TrainingBudget, corpusTokens: Int) -> String {
        let tokens = budget.steps * budget.tokensPerStep
        let passes = Double(tokens) / Double(max(1, corpusTokens))
        return """
            distill: \(Quantity.grouped(budget.steps)) steps of \(budget.batchSize) × \(budget.sequenceLength) tokens, \
            \(Quantity.fixed(passes, digits: 1)) passes over \(Quantity.count(corpusTokens)) tokens; \
            memory for weights, gradients and moments \(Quantity.bytes(stateBytes)), \
            each training checkpoint \(Quantity.bytes(checkpointBytes))

            """
    }
}

extension TrainingEvent {
    /// The parts of the loss, for the end of a progress line.
    var summary: String {
        parts.sorted { $0.key < $1.key }
            .map { "\($0.key.replacingOccurrences(of: "_", with: " ")) \(String(format: "%.3f", $0.value))" }
            .joined(separator: ", ")
    }
}

/// How much is trained on.
struct BudgetOptions: ParsableArguments {
    @Option(help: "Optimiser steps.")
    var steps: Int?

    @Option(help: "Passes over the corpus, in place of --steps.")
    var epochs: Double?

    @Option(help: "Sequences per step; 8 in the paper's recipe, about 2,048 tokens' worth in the default one.")
    var batchSize: Int?

    @Option(help: "Tokens per sequence; the model's context, 2,048 at the most, unless given.")
    var sequenceLength: Int?

    @Option(help: "Passes that a step's batch is split into to save memory.")
    var accumulation = 1

    func validate() throws {
        if steps != nil, epochs != nil { throw ValidationError("Give --steps or --epochs, not both.") }
        if let steps, steps < 1 { throw ValidationError("--steps must be 1 or more.") }
        if let epochs, !(epochs > 0) || !epochs.isFinite { throw ValidationError("--epochs must be above zero.") }
        if let batchSize, batchSize < 1 { throw ValidationError("--batch-size must be 1 or more.") }
        if let sequenceLength, sequenceLength < 2 { throw ValidationError("--sequence-length must be 2 or more.") }
    }

    func sequenceLength(for recipe: RecipeName, context: Int) -> Int {
        sequenceLength ?? recipe.sequenceLength(context: context)
    }

    func budget(for recipe: RecipeName, tokens: Int, context: Int, seed: UInt64) -> TrainingBudget {
        let length = sequenceLength(for: recipe, context: context)
        let batchSize = batchSize ?? recipe.batchSize(sequenceLength: length)
        let training = steps.map(TrainingLength.steps) ?? epochs.map(TrainingLength.epochs) ?? recipe.trainingLength
        return TrainingBudget(
            steps: training.steps(tokens: tokens, tokensPerStep: batchSize * length),
            batchSize: batchSize, accumulation: accumulation,
            sequenceLength: length, seed: seed)
    }
}
