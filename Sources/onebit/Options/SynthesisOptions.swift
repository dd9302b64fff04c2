import ArgumentParser
import CorpusSynthesis
import ModelDescription
import ResumableRuns

extension SynthesisSettings.FirstToken: ExpressibleByArgument {}

extension RecipeName {
    /// How a teacher writes by the preset.
    func synthesis(for teacher: ModelConfiguration, seed: UInt64) -> SynthesisSettings {
        switch self {
        case .paper: .paper(for: teacher, seed: seed)
        case .default: .default(for: teacher, seed: seed)
        }
    }
}

/// How the teacher writes.
struct SynthesisOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Samples to write.", valueName: "n"))
    var samples: Int?

    @Option(help: ArgumentHelp("Most tokens of a sample; 2048 or the model's context.", valueName: "n"))
    var maxLength: Int?

    @Option(
        help: ArgumentHelp(
            "Most samples written side by side; 64, or what --cache-memory has room for. Does not change the corpus.",
            valueName: "n"))
    var synthesisBatch: Int?

    @Option(
        help: ArgumentHelp(
            "Memory for the keys and values of the samples under way, as 512M or 4G.",
            discussion:
                "A quarter of what is available, but no more than 1 GiB or half of the weights, unless given.",
            valueName: "size"))
    var cacheMemory: ByteSize?

    @Option(
        help: "First token of a sample: uniform over the vocabulary as in the paper, or drawn by the model after BOS.")
    var firstToken: SynthesisSettings.FirstToken?

    func validate() throws {
        try check("--samples", samples, "1 or more") { $0 >= 1 }
        try check("--max-length", maxLength, "2 or more") { $0 >= 2 }
        try check("--synthesis-batch", synthesisBatch, "1 or more") { $0 >= 1 }
    }

    /// Puts these choices in place of a preset's.
    func apply(to settings: inout SynthesisSettings, teacher: ModelConfiguration) {
        settings = SynthesisSettings(
            samples: samples ?? settings.samples, firstToken: firstToken ?? settings.firstToken, for: teacher,
            maximumLength: maxLength, seed: settings.seed)
    }

    /// How much is taken on at a time.
    var limits: SynthesisLimits { SynthesisLimits(rows: synthesisBatch, cacheBytes: cacheMemory?.bytes) }
}

extension RunError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .settingsChanged:
            "Give --resume the options of the first run; to start over with others, delete what it left there."
        case .workExists: "Continue it with --resume, or delete it."
        case .damagedState, .invalidSetting: nil
        }
    }
}
