import ArgumentParser
import Foundation
import ModelDescription
import OneBitTraining
import TensorFiles
import Tokenization

struct DistillCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "distill",
        abstract: "Train the start checkpoint to match the teacher's predictions.",
        discussion: """
            Writes the trained student as a float checkpoint, with training_log.jsonl beside it. A stopped run leaves its \
            training checkpoints in OUTPUT.training; with --resume it goes on from there and ends in the same bytes as \
            an unbroken one. Threads and micro-batches may differ from the first run's; everything that decides the result \
            may not.

            EXAMPLES
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --recipe paper --epochs 50
              onebit distill llama-7b --start start --corpus stories.jsonl=2 --corpus wiki.txt.gz=1 --output student
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --time-budget 2h
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --plan
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --resume
              onebit distill llama-7b --start start --corpus corpus.jsonl --output student --processes 4
              torchrun --no-python --nproc-per-node 8 -- onebit distill llama-7b --start start --corpus corpus.jsonl \
                --output student
            """
    )

    @Argument(help: "The teacher: a directory, a GGUF file, or its name on the hub.")
    var teacher: ModelLocation

    @Option(help: "Directory of the start checkpoint, from onebit init with the same --recipe.")
    var start: URL

    @Option(
        help: ArgumentHelp(
            "Corpus: lines of {\"text\": …} or {\"tokens\": […]}, or plain text; also gzipped. Several of them make a mixture.",
            discussion: CorpusSource.argumentHelp, valueName: "file[=weight]"))
    var corpus: [CorpusSource]

    @Option(help: "Preset of the method.")
    var recipe = RecipeName.default

    @OptionGroup var output: OutputOptions
    @OptionGroup(title: "Plan") var plan: PlanOptions
    @OptionGroup(title: "Budget") var budget: BudgetOptions
    @OptionGroup(title: "Method") var method: MethodOptions
    @OptionGroup(title: "Run") var resumption: ResumeOptions
    @OptionGroup(title: "Watching") var monitoring: MonitoringOptions

    @Option(help: "What the samples of the validations begin with.")
    var prompt = ""

    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var seed: SeedOption
    @OptionGroup var execution: ExecutionOptions
    @OptionGroup(title: "Several processes") var distributed: DistributedOptions
    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        if monitoring.validateEvery != nil, monitoring.validation == nil {
            throw ValidationError("--validate-every needs --validation.")
        }
    }

    mutating func locateModels() async throws { try await teacher.locate(quiet: progress.quiet) }

    func run() throws {
        if !plan.plan { try output.check() }
        try distributed.run(execution.execution, isPlan: plan.plan) { try run(with: $0) }
    }

    private func run(with execution: Execution) throws {
        let isFirst = execution.group.rank == 0
        let teacher = try checkpoints.open(teacher.url)
        let start = try checkpoints.reopen(start)
        var configuration = recipe.configuration(for: teacher.configuration, seed: seed.seed)
        budget.apply(to: &configuration.budget, of: recipe)
        method.apply(to: &configuration, isAccelerated: plan.isAccelerated(execution.device))
        let work = trainingDirectory(of: output.output)
        let tokenizer = try loadTokenizer(from: teacher.directory)
        let heldOut = try monitoring.validation.map {
            try CompressionText.heldOut(
                $0, tokenizer: tokenizer, vocabularySize: teacher.configuration.vocabularySize)
        }
        let progress = progress.ofRank(execution.group.rank)
        do {
            if !plan.plan { try resumption.policy(in: work).requireFreshUnlessResumed() }
            // The first rank tokenizes and plans; the others find tokens and plan.
            let found = try execution.group.firstRankFirst("plan") { () -> (TrainingCorpus, RunPlanner.Choice)? in
                let tokens = try TokenizedCorpus.open(
                    corpus,
                    encoding: CorpusEncoding(
                        tokenizer: tokenizer, directory: teacher.directory,
                        vocabularySize: teacher.configuration.vocabularySize),
                    in: work, progress: progress)
                var planned = RunPlanner.Work(
                    configuration: configuration, corpusTokens: tokens.count, isWhole: false, fixed: budget.fixed)
                planned.processes = plan.plan ? distributed.plannedProcesses : execution.group.size
                let choice = try RunPlanner(
                    model: teacher.configuration, teacher: teacher, options: plan, execution: execution,
                    output: output.output, progress: progress
                ).begin(planned, directory: work, resumes: resumption.resume || !isFirst)
                guard let choice else { return nil }
                if isFirst { try PlanFile(in: work).write(choice) }
                return (tokens, choice)
            }
            guard let (tokens, choice) = found else {
                if isFirst { TokenizedCorpus.removeUnlessBegun(work, besides: [PlanFile.name]) }
                return
            }
            try distill(
                teacher: teacher, start: start, corpus: tokens, configuration: choice.configuration,
                execution: choice.applied(to: execution), output: output.output, overwrite: output.overwrite,
                resumption: resumption, monitoring: monitoring, heldOut: heldOut, tokenizer: tokenizer, prompt: prompt,
                progress: progress)
        } catch {
            if isFirst { TokenizedCorpus.removeUnlessBegun(work, after: error, besides: [PlanFile.name]) }
            throw error
        }
    }
}

/// Where a run keeps its training checkpoints, and what it makes of its corpus, until its output stands.
func trainingDirectory(of output: URL) -> URL {
    output.deletingLastPathComponent().appending(path: output.lastPathComponent + ".training")
}

/// Distills with progress, keeping the training checkpoints beside the output until it stands.
func distill(
    teacher: Checkpoint, start: Checkpoint, corpus: TrainingCorpus, configuration: DistillationConfiguration,
    execution: Execution, output: URL, overwrite: Bool, resumption: ResumeOptions, monitoring: MonitoringOptions,
    heldOut: CompressionText.HeldOut?, tokenizer: any Tokenizer, prompt: String, progress: ProgressOptions
) throws {
    let work = trainingDirectory(of: output)
    // One process of several speaks, and cleans up.
    let isFirst = execution.group.rank == 0
    let progress = progress.ofRank(execution.group.rank)
    let distiller = try Distiller(teacher: teacher, start: start, configuration: configuration, execution: execution)
    let budget = configuration.budget
    let validation = try heldOut.flatMap {
        try monitoring.validation(
            on: $0, window: budget.sequenceLength, teacher: distiller.evaluatedTeacher, tokenizer: tokenizer,
            prompt: prompt, progress: progress)
    }
    let total = budget.steps(corpusTokens: corpus.count) * budget.tokensPerStep
    let meter = progress.meter("distill", total: total, unit: "tokens")
    try distiller.run(
        corpus: corpus,
        output: output,
        overwrite: overwrite,
        checkpoints: resumption.policy(in: work, keepsBest: monitoring.keepBest),
        monitor: monitoring.monitor(directory: work, execution: execution, validation: validation)
    ) { event in
        meter.update(done: event.step * budget.tokensPerStep, note: event.summary)
    }
    meter.finish()
    if isFirst, FileManager.default.fileExists(atPath: work.path) { try FileManager.default.removeItem(at: work) }
}

extension TrainingEvent {
    /// The parts of the loss, for the end of a progress line.
    var summary: String {
        parts.sorted { $0.key < $1.key }
            .map { "\($0.key.replacingOccurrences(of: "_", with: " ")) \(String(format: "%.3f", $0.value))" }
            .joined(separator: ", ")
    }
}
