import ArgumentParser
import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import Tokenization

#if TRAINING
    import OneBitTraining
#endif

struct InitCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make the start checkpoint of a student: signs and two value vectors for every linear layer.",
        discussion: """
            Reads a dense checkpoint tensor by tensor and writes a float student: a latent weight whose \
            signs are the layer's, and the vectors g and h with h gᵀ ≈ |W|. Memory is bounded by the largest tensor. \
            Prints how well the magnitudes were approximated.

            The recipe "paper" is --method nmf --latent sign --scale-split nmf --post-layernorm on; "default" is \
            --method nmf --latent weight --scale-split balanced --post-layernorm off. An option overrides its preset.

            EXAMPLES
              onebit init llama-7b --output start
              onebit init llama-7b --output start --recipe paper
              onebit init llama-7b --output start --method svd --overwrite
              onebit init llama-7b --output start --calibrate corpus.jsonl
            """
    )

    @Argument(help: "The teacher: a directory in Hugging Face layout, a GGUF file, or its name on the hub.")
    var teacher: ModelLocation

    @Option(help: "Preset of the method.")
    var recipe = RecipeName.default

    @OptionGroup var output: OutputOptions
    @OptionGroup(title: "Method") var options: StartRecipeOptions
    #if TRAINING
        @Option(
            help: ArgumentHelp(
                "Fit every layer to what the teacher gives on this text: lines of {\"text\": …} or {\"tokens\": […]}, or "
                    + "plain text; also gzipped.",
                valueName: "text"))
        var calibrate: URL?
        @OptionGroup(title: "Calibration") var calibration: CalibrationOptions
        @OptionGroup var threads: ThreadOptions
    #endif
    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var seed: SeedOption
    @OptionGroup var progress: ProgressOptions

    mutating func locateModels() async throws { try await teacher.locate(quiet: progress.quiet) }

    func run() throws {
        let teacher = try checkpoints.open(teacher.url)
        var recipe = recipe.start
        options.apply(to: &recipe)
        #if TRAINING
            if let calibrate { return try initialize(from: teacher, recipe: recipe, calibratedOn: calibrate) }
        #endif
        let meter = progress.meter("decompose", total: teacher.configuration.parameterCount, unit: "weights")
        let initializer = StudentInitializer(recipe: recipe, seed: seed.seed)
        let reports = try initializer.run(
            teacher: teacher,
            destination: output.output,
            overwrite: output.overwrite
        ) { completed, _ in
            meter.update(done: completed)
            try Task.checkCancellation()
        }
        meter.finish()
        try printErrors(
            reports.map { ($0.name, $0.relativeResidual) }, of: "relative residual ‖|W| − h gᵀ‖ / ‖W‖")
    }

    #if TRAINING
        private func initialize(from teacher: Checkpoint, recipe: StartRecipe, calibratedOn text: URL) throws {
            let reports = try onebit.calibrate(
                teacher: teacher,
                text: TrainingCorpus(
                    file: text, tokenizer: loadTokenizer(from: teacher.directory),
                    vocabularySize: teacher.configuration.vocabularySize),
                initializer: CalibratedInitializer(
                    recipe: recipe, settings: calibration.apply(to: CalibrationSettings(for: teacher.configuration)),
                    seed: seed.seed,
                    execution: Execution(threads: threads.threads)),
                destination: output.output, overwrite: output.overwrite, progress: progress)
            try printErrors(
                reports.map { ($0.name, $0.relativeError) }, of: "error on the text ‖X Ŵᵀ − Y‖ / ‖Y‖")
        }
    #endif

    private func printErrors(_ errors: [(layer: String, error: Double)], of what: String) throws {
        let mean = errors.map(\.error).reduce(0, +) / Double(max(1, errors.count))
        let worst = errors.max { $0.error < $1.error }
        try StandardStreams.writeLine(
            "\(output.output.path): \(errors.count) one-bit layers; \(what): mean \(Quantity.fixed(mean, digits: 4))"
                + (worst.map { ", worst \(Quantity.fixed($0.error, digits: 4)) in \($0.layer)" } ?? ""))
    }
}
