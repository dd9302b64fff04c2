import ArgumentParser
import Foundation
import JSON
import ModelDescription
import OneBitEvaluation
import OneBitTraining
import SignDecomposition
import TensorFiles
import Tokenization

struct CompressCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compress",
        abstract: "The whole road: from a Hugging Face checkpoint to a packed 1-bit model.",
        discussion: """
            Start checkpoint, corpus, distillation, packing and judgement, one after the other; one directory out, with \
            a model card. Each stage's result stays in OUTPUT.work until all is done, so that a stopped run goes on with \
            --resume where it was.

            EXAMPLES
              onebit compress llama-7b --output llama-7b-onebit
              onebit compress llama-7b --output llama-7b-onebit --recipe paper --text held-out.jsonl
              onebit compress llama-7b --output llama-7b-onebit --eval-data sets --eval-limit 500
              onebit compress llama-7b --output llama-7b-onebit --resume
            """
    )

    @Argument(help: "Directory of the teacher, in Hugging Face layout.")
    var teacher: URL

    @OptionGroup var output: OutputOptions

    @Option(help: "Preset of the method: the paper's, or the best that we have measured.")
    var recipe = RecipeName.default

    @Option(help: "Corpus to distil on, in place of one that the teacher writes.")
    var corpus: URL?

    @Option(help: "Held-out text to judge by (.txt or .jsonl); samples of the corpus are held out where none is given.")
    var text: URL?

    @Option(
        help: ArgumentHelp(
            "Data sets of the zero-shot tasks that teacher and packed model then take, for the model card.",
            discussion: "As onebit evaluate --data wants them.", valueName: "directory"))
    var evalData: URL?

    @Option(help: ArgumentHelp("Items of each of these tasks, from the front.", valueName: "n"))
    var evalLimit: Int?

    @Option(help: "Beginning of the stories that the models are asked for.")
    var prompt = ""

    @OptionGroup(title: "Start") var start: StartRecipeOptions
    @OptionGroup(title: "Corpus") var synthesis: SynthesisOptions
    @OptionGroup(title: "Budget") var budget: BudgetOptions
    @OptionGroup(title: "Method") var distillation: DistillationOptions
    @OptionGroup(title: "Run") var resumption: ResumeOptions

    @Flag(help: "Keep the stages' results in OUTPUT.work.")
    var keepWork = false

    @OptionGroup var seed: SeedOption
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var progress: ProgressOptions
    @OptionGroup var json: JSONOption

    func validate() throws {
        if let evalLimit, evalLimit < 1 { throw ValidationError("--eval-limit must be 1 or more.") }
        if evalLimit != nil, evalData == nil { throw ValidationError("--eval-limit belongs to --eval-data.") }
    }

    func run() throws {
        if !output.overwrite, FileManager.default.fileExists(atPath: output.output.path) {
            throw FileError.destinationExists(path: output.output.path)
        }
        let begin = ContinuousClock.now
        let teacher = try Checkpoint(directory: teacher)
        try teacher.require(.dense)
        try teacher.validateOutput(output.output)
        let tokenizer = try loadTokenizer(from: teacher.directory)
        // Read now, so that hours of training do not end in a missing file.
        let tasks = try evalData.map {
            try LoadedTask.all(
                KnownTasks.paper, from: TaskDataSource(directory: $0, limit: evalLimit, skipsMalformed: false))
        }
        let work = try CompressionWork(
            beside: output.output, settings: try settings(for: teacher), resumes: resumption.resume)

        let report: CompressionReport
        do {
            report = try walk(teacher, work: work, tokenizer: tokenizer, tasks: tasks ?? [], begin: begin)
        } catch {
            work.removeUnlessBegun()
            throw error
        }
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }

    /// All stages, each where an earlier run has not finished it.
    private func walk(
        _ teacher: Checkpoint, work: CompressionWork, tokenizer: any Tokenizer, tasks: [LoadedTask],
        begin: ContinuousClock.Instant
    ) throws -> CompressionReport {
        try initialise(teacher, work: work)
        if corpus == nil { try synthesise(teacher, tokenizer: tokenizer, work: work) }
        let text = try CompressionText(
            corpus: corpus ?? work.corpus, heldOut: text, tokenizer: tokenizer)
        let budget = budget.budget(
            for: recipe, tokens: text.training.count, context: teacher.configuration.maximumPositions, seed: seed.seed)
        try distil(teacher, tokens: text.training, budget: budget, work: work)
        try pack(work)
        let elapsed = ContinuousClock.now - begin

        let report = try CompressionReport.measure(
            teacher: teacher, start: Checkpoint(directory: work.start), packed: Checkpoint(directory: work.packed),
            tokenizer: tokenizer, text: text,
            window: budget.sequenceLength, tasks: tasks, prompt: prompt,
            recipe: madeWith(work.settings, budget: budget, corpusTokens: text.training.count, teacher: teacher),
            seconds: elapsed / .seconds(1), threads: threads.threads, progress: progress)
        try work.finish(
            report: report,
            card: modelCard(
                teacher: teacher.directory, output: output.output, report: report, heldOut: text.heldOutLoader),
            output: output.output, overwrite: output.overwrite, keepsWork: keepWork)
        return report
    }

    private func settings(for teacher: Checkpoint) throws -> CompressionSettings {
        CompressionSettings(
            teacher: teacher.directory.standardizedFileURL.path,
            start: start.applied(to: recipe),
            corpus: corpus?.standardizedFileURL.path,
            synthesis: synthesis.settings(
                samples: recipe.samples, firstToken: recipe.firstToken,
                context: teacher.configuration.maximumPositions, seed: seed.seed),
            distillation: distillation.applied(to: recipe.distillation),
            seed: seed.seed)
    }

    private func madeWith(
        _ settings: CompressionSettings, budget: TrainingBudget, corpusTokens: Int, teacher: Checkpoint
    ) -> CompressionRecipe {
        CompressionRecipe(
            name: recipe, start: settings.start, corpus: corpus?.lastPathComponent,
            synthesis: corpus == nil ? settings.synthesis : nil, corpusTokens: corpusTokens,
            signGradient: settings.distillation.signGradient, lossWeights: settings.distillation.lossWeights,
            plan: settings.distillation.plan(
                budget: budget, threads: threads.threads, parameters: teacher.configuration.parameterCount),
            seed: seed.seed)
    }

    private func initialise(_ teacher: Checkpoint, work: CompressionWork) throws {
        guard !work.has(work.start) else { return }
        let meter = progress.meter("init", total: teacher.configuration.parameterCount, unit: "parameters")
        try StudentInitializer(recipe: work.settings.start, seed: seed.seed)
            .run(teacher: teacher, destination: work.start) { done, _ in
                meter.update(done: done)
                try Task.checkCancellation()
            }
        meter.finish()
    }

    private func synthesise(_ teacher: Checkpoint, tokenizer: any Tokenizer, work: CompressionWork) throws {
        guard !work.has(work.corpus) else { return }
        try writeCorpus(
            of: try Transformer(checkpoint: teacher), tokenizer: tokenizer, settings: work.settings.synthesis,
            threads: threads.threads, to: work.corpus, resumes: true, progress: progress)
    }

    private func distil(
        _ teacher: Checkpoint, tokens: [Int32], budget: TrainingBudget, work: CompressionWork
    ) throws {
        guard !work.has(work.student) else { return }
        var resumption = resumption
        resumption.resume = true  // the settings were compared; what stands there is this run's
        try distill(
            teacher: teacher, start: try Checkpoint(directory: work.start), tokens: tokens,
            recipe: work.settings.distillation, budget: budget, threads: threads.threads, output: work.student,
            overwrite: false, resumption: resumption, progress: progress)
    }

    private func pack(_ work: CompressionWork) throws {
        guard !work.has(work.packed) else { return }
        let student = try Checkpoint(directory: work.student)
        let meter = progress.meter("pack", total: student.configuration.parameterCount, unit: "parameters")
        try CheckpointPacker().pack(student: student, destination: work.packed) { done, _ in
            meter.update(done: done)
            try Task.checkCancellation()
        }
        meter.finish()
    }
}
