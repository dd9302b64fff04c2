import ArgumentParser
import CorpusSynthesis
import Foundation
import JSON
import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import ResumableRuns
import SignDecomposition
import TensorFiles
import Tokenization
import Torch

struct CompressCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "compress",
        abstract: "All stages: from a Hugging Face checkpoint to a packed 1-bit model.",
        discussion: """
            Corpus, start checkpoint, distillation, packing and evaluation, one after the other; one directory out, with \
            a model card. Each stage's result stays in OUTPUT.work until all is done, so that a stopped run goes on with \
            --resume where it was.

            EXAMPLES
              onebit compress HuggingFaceTB/SmolLM2-135M-Instruct --output smollm2-onebit
              onebit compress llama-7b --output llama-7b-onebit
              onebit compress llama-7b --output llama-7b-onebit --recipe paper --text held-out.jsonl
              onebit compress llama-7b --output llama-7b-onebit --eval-data sets --eval-limit 500
              onebit compress llama-7b --output llama-7b-onebit --resume
              onebit compress llama-7b --output llama-7b-onebit --time-budget 2h
              onebit compress --plan --shape llama-13b --recipe paper --devices 8 --device-memory 80G --host-memory 1T
            """
    )

    @Argument(help: "The teacher: a directory in Hugging Face layout, a GGUF file, or its name on the hub.")
    var teacher: ModelLocation?

    @Option(name: [.short, .long], help: ArgumentHelp("Directory to write.", valueName: "directory"))
    var output: URL?

    @Flag(help: "Replace the output directory if it exists. The old one goes once the new one is whole.")
    var overwrite = false

    @Option(help: ArgumentHelp("With --plan: a published shape in place of a teacher.", valueName: "name"))
    var shape: String?

    @Option(help: "Preset of the method: the paper's, or the best that we have measured.")
    var recipe = RecipeName.default

    @Option(
        help: ArgumentHelp(
            "Corpus to distil on, in place of one that the teacher writes; several of them make a mixture.",
            discussion: CorpusSource.argumentHelp, valueName: "file[=weight]"))
    var corpus: [CorpusSource] = []

    @Option(
        help:
            "Held-out text to evaluate on (.txt or .jsonl, also gzipped); samples of the corpus are held out where none is given."
    )
    var text: URL?

    @Option(
        help: ArgumentHelp(
            "Data sets of the zero-shot tasks that teacher and packed model then take, for the model card.",
            discussion: "As onebit evaluate --data wants them.", valueName: "directory"))
    var evalData: URL?

    @Option(help: ArgumentHelp("Items of each of these tasks, from the front.", valueName: "n"))
    var evalLimit: Int?

    @Option(help: "What the sample texts of the models begin with.")
    var prompt = ""

    @OptionGroup(title: "Plan") var plan: PlanOptions
    @OptionGroup(title: "Start") var start: StartRecipeOptions

    @Option(
        help: ArgumentHelp(
            "Fit the start checkpoint's layers to what the teacher gives: on the corpus, on a text of its own, or off.",
            discussion: "Where the budget is short it is done on the corpus, unless given.",
            valueName: "corpus|off|text"))
    var calibrate: CalibrationChoice?

    @OptionGroup(title: "Calibration") var calibration: CalibrationOptions
    @OptionGroup(title: "Corpus") var synthesis: SynthesisOptions
    @OptionGroup(title: "Budget") var budget: BudgetOptions
    @OptionGroup(title: "Method") var method: MethodOptions
    @OptionGroup(title: "Packing") var packing: PackingOptions
    @OptionGroup(title: "Run") var resumption: ResumeOptions
    @OptionGroup(title: "Watching") var monitoring: MonitoringOptions

    @Flag(help: "Keep the stages' results in OUTPUT.work.")
    var keepWork = false

    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var seed: SeedOption
    @OptionGroup var execution: ExecutionOptions
    @OptionGroup(title: "Several processes") var distributed: DistributedOptions
    @OptionGroup var progress: ProgressOptions
    @OptionGroup var json: JSONOption

    func validate() throws {
        if let evalLimit, evalLimit < 1 { throw ValidationError("--eval-limit must be 1 or more.") }
        if evalLimit != nil, evalData == nil { throw ValidationError("--eval-limit belongs to --eval-data.") }
        guard (teacher == nil) == (shape != nil) else {
            throw ValidationError(
                teacher == nil ? "Give the teacher." : "Give the teacher or --shape, not both.")
        }
        if shape != nil, !plan.plan { throw ValidationError("--shape goes with --plan.") }
        if output == nil, !plan.plan { throw ValidationError("Give --output.") }
    }

    mutating func locateModels() async throws {
        let quiet = progress.quiet
        try await teacher?.locate(quiet: quiet)
    }

    func run() throws {
        if let shape {
            let model = try ModelConfiguration(shape: shape)
            let execution = try execution.execution
            _ = try planned(
                configuration(for: model, on: execution.device), model: model, teacher: nil, corpusTokens: nil,
                heldOutTokens: nil, output: output ?? URL(filePath: shape), work: nil, execution: execution)
            return
        }
        guard let teacher else { return }
        let output = output ?? URL(filePath: teacher.name + "-onebit")
        if !overwrite, FileManager.default.fileExists(atPath: output.path) {
            throw FileError.destinationExists(path: output.path)
        }
        let checkpoint = try checkpoints.open(teacher.url)
        try distributed.run(execution.execution, isPlan: plan.plan) {
            try compress(checkpoint, to: output, with: $0)
        }
    }

    /// Plans the run; nil where only the plan was asked for.
    private func planned(
        _ configuration: DistillationConfiguration, model: ModelConfiguration, teacher: Checkpoint?,
        corpusTokens: Int?, heldOutTokens: Int?, output: URL, work: URL?, execution: Execution
    ) throws -> RunPlanner.Choice? {
        let planner = RunPlanner(
            model: model, teacher: teacher, options: plan, execution: execution, output: output,
            progress: progress.ofRank(execution.group.rank))
        var fixed = budget.fixed
        (fixed.samples, fixed.sampleLength) = (synthesis.samples != nil, synthesis.maxLength != nil)
        return try planner.begin(
            RunPlanner.Work(
                configuration: configuration, corpusTokens: corpusTokens, heldOutTokens: heldOutTokens, isWhole: true,
                fixed: fixed, synthesisLimits: synthesis.limits,
                processes: plan.plan ? distributed.plannedProcesses : execution.group.size,
                calibration: { calibrated($0, for: model).calibration }),
            directory: work ?? output, resumes: resumption.resume || execution.group.rank > 0, json: json.json)
    }

    private func compress(_ teacher: Checkpoint, to output: URL, with execution: Execution) throws {
        let begin = ContinuousClock.now
        let group = execution.group
        let isFirst = group.rank == 0
        let progress = progress.ofRank(group.rank)
        try teacher.require(.dense)
        try teacher.validateOutput(output)
        let tokenizer = try loadTokenizer(from: teacher.directory)
        // Read now, so that hours of training do not end in a missing file.
        let tasks = try evalData.map {
            try LoadedTask.all(
                KnownTasks.paper, from: TaskDataSource(directory: $0, limit: evalLimit, skipsMalformed: false))
        }
        let vocabulary = teacher.configuration.vocabularySize
        let heldOut = try text.map {
            try CompressionText.heldOut($0, tokenizer: tokenizer, vocabularySize: vocabulary)
        }
        let validation = try monitoring.validation.map {
            try CompressionText.heldOut($0, tokenizer: tokenizer, vocabularySize: vocabulary)
        }
        // The first rank plans, begins and makes what the others then find: start checkpoint, corpus and its tokens.
        let begun = try group.firstRankFirst("plan") { () -> (RunPlanner.Choice, CompressionWork)? in
            let planned = try self.planned(
                self.configuration(for: teacher.configuration, on: execution.device), model: teacher.configuration,
                teacher: teacher,
                corpusTokens: corpus.isEmpty ? nil : CorpusSource.estimatedTokens(corpus),
                heldOutTokens: heldOut?.tokens.count, output: output, work: CompressionWork.directory(beside: output),
                execution: execution)
            guard let planned else { return nil }
            let window = planned.configuration.budget.sequenceLength
            for text in [heldOut, validation] { try text?.requireWindow(of: window) }
            let kept = try CompressionWork(
                beside: output,
                identity: try calibrated(planned.configuration, for: teacher.configuration)
                    .identity(teacher: teacher, corpus: corpus)
                    .adding(monitoring.identity(file: monitoring.validation ?? text))
                    .adding(try calibrationText.map { ["calibration_text": "\(try ContentDigest(of: $0))"] } ?? [:]),
                choice: planned, resumes: resumption.resume || !isFirst)
            return (planned, kept)
        }
        guard let begun else { return }
        let (choice, work) = begun
        let configuration = calibrated(choice.configuration, for: teacher.configuration)

        let report: CompressionReport
        do {
            func read(_ corpus: [CorpusSource]) throws -> CompressionText {
                try CompressionText(
                    corpus: corpus, heldOut: heldOut?.prefix(choice.heldOutTokens ?? .max), tokenizer: tokenizer,
                    teacher: teacher, work: work,
                    progress: progress)
            }
            let text = try group.firstRankFirst("corpus") {
                let givenText = corpus.isEmpty ? nil : try read(corpus)
                if isFirst, corpus.isEmpty { try synthesize(teacher, configuration, tokenizer, work) }
                let text = try givenText ?? read([CorpusSource(file: work.corpus)])
                if isFirst { try initialize(teacher, configuration, text.training, tokenizer, work) }
                return text
            }
            try distill(teacher, choice, text, validation ?? text.heldOut, tokenizer, work, execution)
            guard isFirst else { return }
            try pack(work)
            report = try evaluate(
                teacher, configuration, text, tokenizer, tasks ?? [], work, output: output, device: execution.device,
                elapsed: ContinuousClock.now - begin)
        } catch {
            if isFirst { work.removeUnlessBegun(after: error) }
            throw error
        }
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }

    /// The preset with the options in place of its own.
    private func configuration(for teacher: ModelConfiguration, on device: Device) -> DistillationConfiguration {
        var configuration = recipe.configuration(for: teacher, seed: seed.seed)
        start.apply(to: &configuration.start)
        synthesis.apply(to: &configuration.synthesis, teacher: teacher)
        budget.apply(to: &configuration.budget, of: recipe)
        method.apply(to: &configuration, isAccelerated: plan.isAccelerated(device))
        return configuration
    }

    /// The configuration with the calibration that was asked for, or that its budget wants.
    private func calibrated(
        _ configuration: DistillationConfiguration, for teacher: ModelConfiguration
    ) -> DistillationConfiguration {
        var configuration = configuration
        let longest = configuration.budget.sequenceLength
        configuration.calibration =
            switch calibrate {
            case .off: nil
            case .corpus, .text: CalibrationSettings(for: teacher, longestSequence: longest)
            case nil: CalibrationPolicy.settings(for: configuration, teacher: teacher)
            }
        configuration.calibration = configuration.calibration.map(calibration.apply)
        return configuration
    }

    /// The text to calibrate on, where it is not the corpus.
    private var calibrationText: URL? {
        if case .text(let file) = calibrate { file } else { nil }
    }

    // MARK: Stages, each skipped where an earlier run has finished it

    private func initialize(
        _ teacher: Checkpoint, _ configuration: DistillationConfiguration, _ corpus: TrainingCorpus,
        _ tokenizer: any Tokenizer, _ work: CompressionWork
    ) throws {
        guard !work.has(work.start) else { return }
        if let settings = configuration.calibration {
            let own = try calibrationText.map {
                try TrainingCorpus(
                    file: $0, tokenizer: tokenizer, vocabularySize: teacher.configuration.vocabularySize)
            }
            _ = try onebit.calibrate(
                teacher: teacher, text: own ?? corpus,
                initializer: CalibratedInitializer(
                    recipe: configuration.start, settings: settings, seed: seed.seed,
                    execution: Execution(threads: execution.threads.threads)),
                destination: work.start, overwrite: false, progress: progress)
            return
        }
        let meter = progress.meter("init", total: teacher.configuration.parameterCount, unit: "parameters")
        try StudentInitializer(recipe: configuration.start, seed: seed.seed)
            .run(teacher: teacher, destination: work.start) { done, _ in
                meter.update(done: done)
                try Task.checkCancellation()
            }
        meter.finish()
    }

    private func synthesize(
        _ teacher: Checkpoint, _ configuration: DistillationConfiguration, _ tokenizer: any Tokenizer,
        _ work: CompressionWork
    ) throws {
        guard !work.has(work.corpus) else { return }
        try writeCorpus(
            of: teacher,
            by: try CorpusWriter(teacher, threads: execution.threads.threads, device: execution.device.select()),
            tokenizer: tokenizer, settings: configuration.synthesis, limits: synthesis.limits, to: work.corpus,
            overwrite: false, resumes: true, progress: progress)
    }

    private func distill(
        _ teacher: Checkpoint, _ choice: RunPlanner.Choice, _ text: CompressionText,
        _ validation: CompressionText.HeldOut, _ tokenizer: any Tokenizer, _ work: CompressionWork,
        _ execution: Execution
    ) throws {
        guard !work.has(work.student) else { return }
        var resumption = resumption
        resumption.resume = true  // the identities were compared: what stands there is this run's
        try onebit.distill(
            teacher: teacher, start: try checkpoints.reopen(work.start), corpus: text.training,
            configuration: choice.configuration, execution: choice.applied(to: execution),
            output: work.student, overwrite: false,
            resumption: resumption, monitoring: monitoring, heldOut: validation, tokenizer: tokenizer, prompt: prompt,
            progress: progress)
    }

    private func pack(_ work: CompressionWork) throws {
        let format = packing.embeddingFormat(of: .floatStudent) ?? .float
        if work.has(work.packed),
            try checkpoints.reopen(work.packed).configuration.quantization?.embeddingFormat == format
        {
            return
        }
        let student = try checkpoints.reopen(work.student)
        let meter = progress.meter("pack", total: student.configuration.parameterCount, unit: "parameters")
        try CheckpointPacker(embeddingFormat: format).pack(
            student: student, destination: work.packed, overwrite: true
        ) { done, _ in
            meter.update(done: done)
            try Task.checkCancellation()
        }
        meter.finish()
    }

    /// Measures teacher, start and packed model, and puts the latter in its place with report and card.
    private func evaluate(
        _ teacher: Checkpoint, _ configuration: DistillationConfiguration, _ text: CompressionText,
        _ tokenizer: any Tokenizer, _ tasks: [LoadedTask], _ work: CompressionWork, output: URL, device: Device,
        elapsed: Duration
    ) throws -> CompressionReport {
        let report = try CompressionReport.measure(
            teacher: teacher, start: checkpoints.reopen(work.start), packed: checkpoints.reopen(work.packed),
            tokenizer: tokenizer, heldOut: text.heldOut, window: configuration.budget.sequenceLength, tasks: tasks,
            prompt: prompt,
            recipe: CompressionRecord(
                name: recipe, configuration: configuration,
                corpus: corpus.isEmpty ? nil : corpus.map(\.description).joined(separator: ", "),
                corpusTokens: text.training.count, steps: try work.stepsMade()),
            seconds: elapsed / .seconds(1), threads: execution.threads.threads, device: device,
            progress: progress)
        try work.finish(
            report: report,
            card: modelCard(
                teacher: teacher.directory, output: output, report: report, heldOut: text.heldOut.loader),
            output: output, overwrite: overwrite, keepsWork: keepWork)
        return report
    }
}
