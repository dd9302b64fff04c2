import ArgumentParser
import Foundation
import JSON
import ModelDescription
import OneBitTraining
import TensorFiles
import Tokenization

struct SynthesizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "synthesize",
        abstract: "Let the teacher write the text that it will be distilled on.",
        discussion: """
            The paper's procedure: first token uniform over the vocabulary, the next 3 to 5 greedy, the rest sampled \
            from the full softmax until a stop token or the maximum length. Writes one {"text": …, "tokens": […]} a line.

            EXAMPLES
              onebit synthesize llama-7b --output corpus.jsonl --samples 132000 --max-length 2048
              onebit synthesize llama-7b --output corpus.jsonl --samples 132000 --max-length 2048 --resume
            """
    )

    @Argument(help: "Directory of the teacher.")
    var teacher: URL

    @Option(name: [.short, .long], help: ArgumentHelp("File to write.", valueName: "file"))
    var output: URL

    @Flag(help: "Replace the output file if it exists.")
    var overwrite = false

    @OptionGroup var synthesis: SynthesisOptions

    @Flag(help: "Go on where a stopped run left off.")
    var resume = false

    @OptionGroup var seed: SeedOption
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var progress: ProgressOptions

    func run() throws {
        if FileManager.default.fileExists(atPath: output.path), !overwrite {
            throw FileError.destinationExists(path: output.path)
        }
        let checkpoint = try Checkpoint(directory: teacher)
        try checkpoint.require(.dense)
        let settings = synthesis.settings(
            samples: 2000, context: checkpoint.configuration.maximumPositions, seed: seed.seed)
        try writeCorpus(
            of: try Transformer(checkpoint: checkpoint), tokenizer: try loadTokenizer(from: teacher),
            settings: settings, threads: threads.threads, to: output, resumes: resume, progress: progress)
    }
}

/// How the teacher writes.
struct SynthesisOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Samples to write.", valueName: "n"))
    var samples: Int?

    @Option(help: ArgumentHelp("Tokens per sample at the most; 2048 or the model's context.", valueName: "n"))
    var maxLength: Int?

    @Option(help: ArgumentHelp("Samples written side by side.", valueName: "n"))
    var synthesisBatch: Int?

    @Option(
        help: "First token of a sample: uniform over the vocabulary as in the paper, or drawn by the model behind BOS.")
    var firstToken: SynthesisSettings.FirstToken?

    func settings(
        samples preset: Int, firstToken presetFirst: SynthesisSettings.FirstToken = .uniform, context: Int, seed: UInt64
    ) -> SynthesisSettings {
        SynthesisSettings(
            samples: samples ?? preset, maximumLength: maxLength ?? min(2048, context - 1),
            batchSize: synthesisBatch ?? 128, firstToken: firstToken ?? presetFirst, seed: seed)
    }
}

/// Writes a corpus with progress; Ctrl-C leaves the finished batches for `--resume`.
func writeCorpus(
    of model: Transformer, tokenizer: any Tokenizer, settings: SynthesisSettings, threads: Int?, to output: URL,
    resumes: Bool, progress: ProgressOptions
) throws {
    let synthesizer = try CorpusSynthesizer(model: model, tokenizer: tokenizer, settings: settings, threads: threads)
    let meter = progress.meter("synthesize", total: settings.samples, unit: "samples")
    try synthesizer.write(to: output, resumes: resumes) { state in
        meter.update(done: state.samples, note: "\(state.tokens) tokens")
        try Task.checkCancellation()
    }
    meter.finish()
}
