import ArgumentParser
import Foundation
import ModelDescription
import OneBitTraining
import TensorFiles
import Tokenization

struct PretrainCommand: ParsableCommand {
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
            """
    )

    @Argument(help: ArgumentHelp("Text to train on.", valueName: "file[=weight]"))
    var text: [CorpusSource]

    @OptionGroup var output: OutputOptions

    @Option(help: "Directory of the tokenizer to use; one is trained on the text where none is given.")
    var tokenizer: URL?

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

    @Option(help: "Optimizer steps.")
    var steps = 1000

    @Option(help: "Sequences per step.")
    var batchSize = 16

    @Option(help: "Tokens per sequence; the context, unless given.")
    var sequenceLength: Int?

    @Option(help: "Peak learning rate.")
    var learningRate = 3e-3

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
    }

    func run() throws {
        let work = trainingDirectory(of: output.output)
        do {
            try train(work: work)
        } catch {
            TokenizedCorpus.removeUnlessBegun(work, after: error)
            throw error
        }
        if FileManager.default.fileExists(atPath: work.path) { try FileManager.default.removeItem(at: work) }
    }

    private func train(work: URL) throws {
        let execution = try execution.execution
        try StagedDirectory.write(to: output.output, overwrite: output.overwrite) { directory in
            let source = try provideTokenizer(in: directory)
            let shape = PretrainingShape(
                vocabularySize: source.vocabularySize, hiddenSize: hiddenSize,
                intermediateSize: intermediateSize ?? (hiddenSize * 8 / 3 + 15) / 16 * 16, layers: layers,
                attentionHeads: heads, keyValueHeads: keyValueHeads ?? heads, context: context)
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
                length: .steps(steps), batchSize: batchSize, sequenceLength: sequenceLength ?? context)
            let pretrainer = try Pretrainer(
                configuration: configuration, elementType: .bfloat16, seed: seed.seed)
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
                    optimizer: OptimizerSettings(
                        learningRates: LearningRates(all: learningRate), warmupSteps: steps / 20),
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
            for file in tokenizerFiles(in: tokenizer) {
                try FileManager.default.copyItem(at: file, to: directory.appending(path: file.lastPathComponent))
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
