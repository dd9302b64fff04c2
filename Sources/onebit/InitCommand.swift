import ArgumentParser
import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles

struct InitCommand: ParsableCommand {
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
            """
    )

    @Argument(help: "Directory of the teacher: config.json and its weights, safetensors or PyTorch.")
    var teacher: URL

    @Option(help: "Preset of the method.")
    var recipe = RecipeName.default

    @OptionGroup var output: OutputOptions
    @OptionGroup(title: "Method") var options: StartRecipeOptions
    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var seed: SeedOption
    @OptionGroup var progress: ProgressOptions

    func run() throws {
        let teacher = try checkpoints.open(teacher)
        let meter = progress.meter("decompose", total: teacher.configuration.parameterCount, unit: "weights")
        var recipe = recipe.start
        options.apply(to: &recipe)
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
        let residuals = reports.map(\.relativeResidual)
        let mean = residuals.reduce(0, +) / Double(max(1, residuals.count))
        let worst = reports.max { $0.relativeResidual < $1.relativeResidual }
        try StandardStreams.writeLine(
            "\(output.output.path): \(reports.count) one-bit layers; relative residual ‖|W| − h gᵀ‖ / ‖W‖: mean "
                + Quantity.fixed(mean, digits: 4)
                + (worst.map { ", worst \(Quantity.fixed($0.relativeResidual, digits: 4)) in \($0.name)" } ?? "")
        )
    }
}
