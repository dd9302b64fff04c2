import ArgumentParser
import CorpusSynthesis
import Foundation
import JSON
import LanguageModel
import ModelDescription
import OneBitRuntime
import ResumableRuns
import TensorFiles
import Tokenization

#if TRAINING
    import OneBitTraining
    import Torch
#endif

struct SynthesizeCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "synthesize",
        abstract: "Let the teacher write the text that it will be distilled on.",
        discussion: """
            With --recipe paper: first token uniform over the vocabulary, the next 3 to 5 greedy, the rest sampled from the \
            full softmax until a stop token or the maximum length; 132,000 samples. The default recipe, as compress uses \
            it, draws the first token from the model and writes 2,000. Writes one {"text": …, "tokens": […]} a line.

            EXAMPLES
              onebit synthesize llama-7b --output corpus.jsonl --recipe paper
              onebit synthesize llama-7b --output corpus.jsonl --recipe paper --resume
            """
    )

    @Argument(help: "The teacher: a directory, a GGUF file, or its name on the hub.")
    var teacher: ModelLocation

    @Option(name: [.short, .long], help: ArgumentHelp("File to write.", valueName: "file"))
    var output: URL

    @Flag(help: "Replace the output file if it exists. The old one goes once the new one is whole.")
    var overwrite = false

    @Option(help: "Preset of the method: the paper's, or the best that we have measured.")
    var recipe = RecipeName.default

    @OptionGroup var synthesis: SynthesisOptions

    @Flag(help: "Measure, print what the run would take, and stop.")
    var plan = false

    @Option(
        help: ArgumentHelp(
            "Time for everything, such as 90m or 2h: the number of samples is chosen to fit.", valueName: "time"))
    var timeBudget: TimeAmount?

    @Flag(help: "Go on where a stopped run left off.")
    var resume = false

    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var seed: SeedOption
    @OptionGroup var threads: ThreadOptions
    #if TRAINING
        @OptionGroup var device: DeviceOptions
    #endif
    @OptionGroup var progress: ProgressOptions

    /// What a time was fitted with, kept beside the corpus until it stands.
    private struct PlannedSamples: Codable {
        var samples: Int
    }

    mutating func locateModels() async throws { try await teacher.locate(quiet: progress.quiet) }

    func run() throws {
        if FileManager.default.fileExists(atPath: output.path), !overwrite {
            throw FileError.destinationExists(path: output.path)
        }
        let checkpoint = try checkpoints.open(teacher.url)
        try checkpoint.require(.dense)
        var settings = recipe.synthesis(for: checkpoint.configuration, seed: seed.seed)
        synthesis.apply(to: &settings, teacher: checkpoint.configuration)
        #if TRAINING
            let writer = try CorpusWriter(checkpoint, threads: threads.threads, device: device.select())
        #else
            let writer = try CorpusWriter(checkpoint, threads: threads.threads)
        #endif
        let tokenizer = try loadTokenizer(from: teacher.url)
        // Kept for a resumption, on whatever machine: it writes as many samples as the first run was to.
        let choice = PlanFile(output.appendingPathExtension(PlanFile.name))
        let partial = output.appendingPathExtension("partial")
        if !resume, !plan, FileManager.default.fileExists(atPath: partial.path) {
            throw RunError.workExists(directory: partial)
        }
        if resume, !plan, let planned = try choice.read(PlannedSamples.self) {
            settings.samples = planned.samples
        } else if plan || timeBudget != nil {
            let rate = try CorpusSynthesizer(
                model: writer.model, tokenizer: tokenizer, settings: settings, limits: synthesis.limits
            ).measureRate().tokensPerSecond(maximumLength: settings.maximumLength)
            if let timeBudget {
                let possible = timeBudget.seconds * SynthesisRate.plannedShare * rate / Double(settings.maximumLength)
                settings.samples = max(1, Int(min(Double(settings.samples), possible)))
            }
            if plan {
                let expected = settings.samples * settings.maximumLength
                let stages = StageTable(
                    stages: [
                        StageTable.Stage(
                            name: "synthesize", tokens: expected, seconds: Double(expected) / rate,
                            deviceBytes: SynthesisLimits.byteCount(of: checkpoint.configuration, settings: settings),
                            diskBytes: expected * SynthesisLimits.corpusBytesPerToken)
                    ])
                try StandardStreams.write(stages.text)
                return
            }
            try choice.write(PlannedSamples(samples: settings.samples))
        }
        try writeCorpus(
            of: checkpoint, by: writer, tokenizer: tokenizer, settings: settings, limits: synthesis.limits,
            to: output, overwrite: overwrite, resumes: resume, progress: progress)
        try? FileManager.default.removeItem(at: choice.url)
    }
}

/// The teacher as it writes a corpus: on the CPU by the runtime's decoder, on another device by libtorch.
struct CorpusWriter {
    let model: any CausalLanguageModel
    /// What it computes in, which decides what it writes.
    let arithmetic: String

    init(_ teacher: Checkpoint, threads: Int?) throws {
        let model = try DenseModel(checkpoint: teacher, arithmetic: .fastest, threads: threads)
        self.init(model: model, arithmetic: model.arithmetic.rawValue)
    }

    #if TRAINING
        init(_ teacher: Checkpoint, threads: Int?, device: Device) throws {
            if device == .cpu {
                try self.init(teacher, threads: threads)
            } else {
                self.init(
                    model: try TorchModel(
                        checkpoint: teacher, threads: threads, device: device, computeType: .bfloat16),
                    arithmetic: "bfloat16 on \(device.kind.rawValue)")
            }
        }
    #endif

    private init(model: any CausalLanguageModel, arithmetic: String) {
        self.model = model
        self.arithmetic = arithmetic
    }
}

/// Writes a corpus with progress; a cancelled run leaves what it has for `--resume`.
func writeCorpus(
    of teacher: Checkpoint, by writer: CorpusWriter, tokenizer: any Tokenizer, settings: SynthesisSettings,
    limits: SynthesisLimits, to output: URL, overwrite: Bool, resumes: Bool, progress: ProgressOptions
) throws {
    let synthesizer = try CorpusSynthesizer(
        model: writer.model, tokenizer: tokenizer, settings: settings, teacher: try ContentDigest(of: teacher),
        arithmetic: writer.arithmetic, limits: limits)
    if !progress.quiet {
        let cache = synthesizer.rows * writer.model.cacheByteCount(positions: settings.maximumLength + 1)
        StandardStreams.writeError(
            "synthesize: \(synthesizer.rows) samples side by side in \(writer.arithmetic), keys and values of "
                + "up to \(Quantity.bytes(cache))\n")
    }
    let meter = progress.meter("synthesize", total: settings.samples * settings.maximumLength, unit: "tokens")
    try synthesizer.write(to: output, resumes: resumes, overwrite: overwrite) { now in
        meter.update(
            done: now.tokens, total: now.expectedTokens,
            note: "\(Quantity.grouped(now.samples))/\(Quantity.grouped(settings.samples)) samples")
    }
    meter.finish()
}
