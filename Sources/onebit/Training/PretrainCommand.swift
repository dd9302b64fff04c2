import ArgumentParser
import Foundation
import ModelDescription
import ModelFiles
import OneBitTraining
import TensorFiles
import Tokenization

struct PretrainCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "pretrain",
        abstract: "Train a small LLaMA model from random weights on a text.",
        discussion: """
            Next-token training, for teachers to try things on. The text is JSON lines of {"text": …}, one document each, \
            or plain text as one document, also gzipped; several files make a mixture, in which a weight (stories.jsonl=2) \
            is a file's share. Without --tokenizer a byte-pair tokenizer is trained on it first.

            EXAMPLES
              onebit pretrain stories.jsonl --output teacher --vocabulary-size 1024 --hidden-size 128 --layers 6
              onebit pretrain stories.jsonl --output teacher --tokenizer llama-7b --steps 5000 --resume
              onebit pretrain stories.jsonl --output teacher --time-budget 30m --plan
            """
    )

    @Argument(help: ArgumentHelp("Text to train on.", valueName: "file[=weight]"))
    var text: [CorpusSource]

    @OptionGroup var output: OutputOptions

    @Option(
        help:
            "The tokenizer to use, of a directory, a GGUF file, or a model on the hub; one is trained on the text where none is given."
    )
    var tokenizer: ModelLocation?

    @Option(help: "Ids of the tokenizer that is trained.")
    var vocabularySize = 1024

    @Option(help: "Width of the model.")
    var hiddenSize = 128

    @Option(help: "Width of the perceptrons; 8/3 of the model's, rounded up to 16, unless given.")
    var intermediateSize: Int?

    @Option(help: "Blocks.")
    var layers = 4

    @Option(help: "Attention heads.")
    var heads = 4

    @Option(help: "Key/value heads; as many as attention heads, unless given.")
    var keyValueHeads: Int?

    @Option(help: "Longest sequence that the model can read, in tokens.")
    var context = 256

    @Option(help: "Optimizer steps; 1,000, or what fits into the time budget, unless given.")
    var steps: Int?

    @Option(help: "Sequences per step.")
    var batchSize = 16

    @Option(help: "Tokens per sequence; the context, unless given.")
    var sequenceLength: Int?

    @Option(help: "Peak learning rate.")
    var learningRate = 3e-3

    @Flag(help: "Measure, print what the run would take, and stop.")
    var plan = false

    @Option(
        help: ArgumentHelp(
            "Time for the training, such as 90m or 2h: the number of steps is chosen to fit.", valueName: "time"))
    var timeBudget: TimeAmount?

    @OptionGroup(title: "Run") var resumption: ResumeOptions
    @OptionGroup(title: "Watching") var monitoring: MonitoringOptions

    @Option(help: "What the samples of the validations begin with.")
    var prompt = ""

    @OptionGroup var seed: SeedOption
    @OptionGroup var execution: ExecutionOptions
    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        if monitoring.validateEvery != nil, monitoring.validation == nil {
            throw ValidationError("--validate-every needs --validation.")
        }
        try check("--learning-rate", learningRate, "above 0") { $0 > 0 }
        if steps != nil, timeBudget != nil { throw ValidationError("Give --steps or --time-budget, not both.") }
        if let steps, steps < 1 { throw ValidationError("--steps must be 1 or more.") }
    }

    /// What a time was fitted with, kept beside the training checkpoints: a resumed run makes as many steps.
    private struct PlannedSteps: Codable {
        var steps: Int
    }

    mutating func locateModels() async throws {
        let quiet = progress.quiet
        try await tokenizer?.locate(quiet: quiet)
    }

    func run() throws {
        if !plan { try output.check() }
        let work = trainingDirectory(of: output.output)
        do {
            guard let steps = try plannedSteps(work: work) else { return }
            try train(steps: steps, work: work)
        } catch {
            TokenizedCorpus.removeUnlessBegun(work, after: error, besides: [PlanFile.name])
            throw error
        }
        if FileManager.default.fileExists(atPath: work.path) { try FileManager.default.removeItem(at: work) }
    }

    private var budgetSequenceLength: Int { sequenceLength ?? context }

    private func shape(vocabularySize: Int) -> PretrainingShape {
        PretrainingShape(
            vocabularySize: vocabularySize, hiddenSize: hiddenSize,
            intermediateSize: intermediateSize ?? (hiddenSize * 8 / 3 + 15) / 16 * 16, layers: layers,
            attentionHeads: heads, keyValueHeads: keyValueHeads ?? heads, context: context)
    }

    private func optimizer(steps: Int) -> OptimizerSettings {
        OptimizerSettings(learningRates: LearningRates(all: learningRate), warmupSteps: steps / 20)
    }

    /// Measures a step and says what the run takes.
    ///
    /// - Returns: Steps to make; nil where only the plan was asked for, which is printed then.
    private func plannedSteps(work: URL) throws -> Int? {
        let file = PlanFile(in: work)
        if resumption.resume, !plan, timeBudget != nil, let planned = try file.read(PlannedSteps.self) {
            return planned.steps
        }
        if !plan { try resumption.policy(in: work).requireFreshUnlessResumed() }
        // Of a tokenizer that is yet to be trained the size is known.
        let shape = shape(
            vocabularySize: try tokenizer.map { try loadTokenizer(from: $0.url).vocabularySize } ?? vocabularySize)
        let model = try shape.modelConfiguration()
        let budget = TrainingBudget(length: .steps(1), batchSize: batchSize, sequenceLength: budgetSequenceLength)
        let measured = try PretrainingPlan(
            model: model, budget: budget, optimizer: optimizer(steps: 1000), execution: execution.execution)
        let steps = try self.steps ?? timeBudget.map { try measured.steps(in: $0.seconds) } ?? 1000
        let stages = StageTable(
            stages: [
                StageTable.Stage(
                    name: "pretrain", tokens: steps * budget.tokensPerStep,
                    seconds: Double(steps) * measured.stepSeconds, deviceBytes: measured.memoryBytes,
                    diskBytes: 3 * measured.checkpointBytes + 2 * model.parameterCount)
            ])
        if plan {
            try StandardStreams.write(stages.text)
            return nil
        }
        if !progress.quiet { StandardStreams.writeError(stages.text + "\n") }
        if timeBudget != nil { try file.write(PlannedSteps(steps: steps)) }
        return steps
    }

    private func train(steps: Int, work: URL) throws {
        let execution = try execution.execution
        try StagedDirectory.write(to: output.output, overwrite: output.overwrite) { directory in
            let source = try provideTokenizer(in: directory)
            let shape = shape(vocabularySize: source.vocabularySize)
            let configurationFile = directory.appending(path: "config.json")
            try writeAtomically(
                try shape.configuration(beginOfSequence: source.beginOfSequence, endOfSequence: source.endOfSequence),
                to: configurationFile)
            let configuration = try ModelConfiguration(contentsOf: configurationFile)
            let tokens = try TokenizedCorpus.open(
                text,
                encoding: CorpusEncoding(
                    tokenizer: source, directory: directory, vocabularySize: configuration.vocabularySize,
                    closesDocuments: true),
                in: work, progress: progress)
            let budget = TrainingBudget(
                length: .steps(steps), batchSize: batchSize, sequenceLength: budgetSequenceLength)
            let pretrainer = try Pretrainer(
                configuration: configuration, elementType: .bfloat16, seed: seed.seed, device: execution.device)
            let validation = try monitoring.validation.flatMap {
                let heldOut = try CompressionText.heldOut(
                    $0, tokenizer: source, vocabularySize: configuration.vocabularySize)
                return try monitoring.validation(
                    on: heldOut, window: budget.sequenceLength, teacher: nil, tokenizer: source, prompt: prompt,
                    progress: progress)
            }
            let meter = progress.meter("pretrain", total: steps * budget.tokensPerStep, unit: "tokens")
            try pretrainer.run(
                tokens: tokens,
                configuration: PretrainingConfiguration(
                    shape: shape, budget: budget,
                    optimizer: optimizer(steps: steps),
                    seed: seed.seed),
                execution: execution,
                into: directory,
                checkpoints: resumption.policy(in: work, keepsBest: monitoring.keepBest),
                monitor: monitoring.monitor(
                    directory: work, execution: execution, validation: validation)
            ) { event in
                meter.update(done: event.step * budget.tokensPerStep, note: event.summary)
            }
            meter.finish(note: "\(pretrainer.parameterCount) parameters")
        }
    }

    /// Copies the given tokenizer into `directory`, or trains one there.
    private func provideTokenizer(in directory: URL) throws -> any Tokenizer {
        if let tokenizer {
            for file in try tokenizerFiles(in: tokenizer.url) {
                try writeAtomically(
                    ModelFile.contents(of: file, limit: 1 << 30), to: directory.appending(path: file.lastPathComponent))
            }
        } else {
            let trained = try BytePairTrainer.train(
                texts: try text.flatMap { try Corpus.documents(of: $0.file) }, vocabularySize: vocabularySize)
            try writeAtomically(trained, to: directory.appending(path: "tokenizer.json"))
            try writeAtomically(
                BytePairTrainer.tokenizerConfiguration, to: directory.appending(path: "tokenizer_config.json"))
        }
        return try loadTokenizer(from: directory)
    }
}
