import ArgumentParser
import Foundation
import JSON
import ModelDescription
import OneBitEvaluation
import TensorFiles
import Tokenization

struct EvaluateCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Evaluate models on the zero-shot tasks that papers report.",
        discussion: """
            Prompts, tokenization and measures are those of EleutherAI's lm-evaluation-harness 0.4.13. The table has the \
            columns of OneBit's Table 2 (whose figures are without BOS: --bos none); standard errors, the other measures and \
            what was truncated stand below it.

            Data are local files, a line of JSON per item as the sets are published, each also with .gz:
              winogrande      winogrande.jsonl
              hellaswag       hellaswag.jsonl or hellaswag_val.jsonl
              piqa            piqa.jsonl
              boolq           boolq.jsonl
              arc_easy        arc_easy.jsonl or ARC-Easy-Test.jsonl
              arc_challenge   arc_challenge.jsonl or ARC-Challenge-Test.jsonl
              mmlu            mmlu/test/SUBJECT_test.csv, mmlu/dev/SUBJECT_dev.csv;
                              or mmlu_test.jsonl, mmlu_dev.jsonl
              lambada_openai  lambada_openai.jsonl or lambada_test.jsonl
            Questions of your own: a task file that ends with .json, such as
              {"name": "capitals", "data": "capitals.jsonl", "choices": "options",
               "context": "Question: {question}\\nAnswer:", "answer": "correct"}
            where data lies beside it, {key} is an item's value, choices the key of its list of choices, and answer that of \
            the right one: its number from 0, or its text. Optional are labels (a list or a key; answer is then one of \
            them), delimiter (a space) and metric (acc or acc_norm).

            EXAMPLES
              onebit evaluate packed --data sets
              onebit evaluate llama-7b packed --data sets --wikitext wiki.test.raw --html evaluation.html
              onebit evaluate packed --data sets --journal running --skip-malformed
              onebit evaluate packed --data sets --tasks hellaswag,piqa --limit 200
              onebit evaluate packed --data sets --tasks mmlu --mmlu-shots 5 --json
              onebit evaluate packed --tasks capitals.json --items answers.jsonl
            """
    )

    /// What a prompt begins with.
    enum BeginOfSequence: String, ExpressibleByArgument, CaseIterable {
        /// The special tokens that the tokenizer adds by itself: what the harness does unless told otherwise.
        case tokenizer
        case none
    }

    @Argument(
        help: ArgumentHelp(
            "The models, a row of the table each: directories, GGUF files, or names on the hub.", valueName: "model"))
    var models: [ModelLocation]

    @Option(help: ArgumentHelp("Directory of the data sets.", valueName: "directory"))
    var data: URL?

    @Option(
        help: ArgumentHelp(
            "Tasks, separated by commas: names, and files of your own.",
            discussion: "Without it the six of the paper's table.", valueName: "list"),
        transform: { $0.split(separator: ",").map(String.init) })
    var tasks: [String] = KnownTasks.paper.map(\.name)

    @Option(help: ArgumentHelp("Items of each task, from the front; of each subject of MMLU.", valueName: "n"))
    var limit: Int?

    @Option(help: ArgumentHelp("Items that a model is given at once.", valueName: "n"))
    var batchSize = Self.defaultBatchSize

    static let defaultBatchSize = 8

    @Option(help: ArgumentHelp("Examples before each question of MMLU, 0 to 5.", valueName: "n"))
    var mmluShots = 0

    @Option(help: "Special tokens around a prompt, such as BOS: those that the tokenizer adds, or none.")
    var bos = BeginOfSequence.tokenizer

    @Option(
        help: ArgumentHelp(
            "Tokens of an item that a model reads, the end of a longer one; the model's context unless given.",
            valueName: "n"))
    var context: Int?

    @Option(
        help: ArgumentHelp(
            "The model that the others are measured by.",
            discussion: "Without it the first one, where that is a dense model.", valueName: "model"))
    var original: ModelLocation?

    @Option(help: ArgumentHelp("WikiText-2's wiki.test.raw: perplexity in the column Wiki2.", valueName: "file"))
    var wikitext: URL?

    @Option(help: ArgumentHelp("Text of C4, plain or .jsonl: perplexity in the column C4.", valueName: "file"))
    var c4: URL?

    @Option(help: ArgumentHelp("File for every item's log-likelihoods, as lines of JSON.", valueName: "file"))
    var items: URL?

    @OptionGroup var html: HTMLOption

    @Flag(help: "Replace the files of --items and --html if they exist.")
    var overwrite = false

    @Option(
        help: ArgumentHelp(
            "Directory in which results are kept as they come.",
            discussion: "The same command after a killed or finished run finds there what that run had computed.",
            valueName: "directory"))
    var journal: URL?

    @Flag(help: "Leave malformed items out, and count them, in place of stopping at the first.")
    var skipMalformed = false

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        guard !models.isEmpty else { throw ValidationError("Give a model.") }
        guard batchSize >= 1, limit ?? 1 >= 1, context ?? 1 >= 1 else {
            throw ValidationError("--limit, --batch-size and --context must be 1 or more.")
        }
        guard (0...5).contains(mmluShots) else {
            throw ValidationError("--mmlu-shots must lie between 0 and 5, not \(mmluShots).")
        }
        guard !tasks.isEmpty, Set(tasks).count == tasks.count else {
            throw ValidationError("--tasks must name one task or more, each once.")
        }
        if let items, let html = html.html, items.standardizedFileURL == html.standardizedFileURL {
            throw ValidationError("--items and --html must name two files.")
        }
        guard data != nil || tasks.allSatisfy({ $0.hasSuffix(".json") }) else {
            throw ValidationError("--data is needed: the directory in which the data sets lie.")
        }
    }

    mutating func locateModels() async throws {
        let quiet = progress.quiet
        for index in models.indices { try await models[index].locate(quiet: quiet) }
        try await original?.locate(quiet: quiet)
    }

    func run() throws {
        if let items { try checkDestination(items, overwrite: overwrite) }
        try html.check(overwrite: overwrite)
        // All that can be wrong with models and data is looked at before the first weight is read.
        let (candidates, original) = try candidates()
        let tasks = try tasks.map { try KnownTasks.task($0, mmluShots: mmluShots) }
        let source = TaskDataSource(
            directory: data ?? URL(filePath: "."), limit: limit, skipsMalformed: skipMalformed)
        let loaded = try LoadedTask.all(tasks, from: source)
        let texts = try PerplexityText.all(wikitext: wikitext, c4: c4)

        var results: [ModelResult] = []
        for candidate in candidates {
            let evaluation = ModelEvaluation(
                candidate: candidate, model: try loadModel(candidate.checkpoint, options: options),
                tokenizer: try loadTokenizer(from: candidate.checkpoint.directory), showsName: candidates.count > 1,
                bos: bos, context: context, batchSize: batchSize, skipsMalformed: skipMalformed,
                journal: try journal.map { try openJournal($0, for: candidate) }, progress: progress)
            results.append(try evaluation.run(loaded, texts: texts))
        }
        let report = EvaluationReport(results, original: original, bos: bos, context: context)
        // Where a file cannot be written, what was computed is printed all the same.
        let files = Result {
            if let items { try writeAtomically(Data(try itemLines(results).utf8), to: items) }
            try html.write(try report.page)
        }
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.markdown)
        }
        try files.get()
    }

    private func openJournal(_ directory: URL, for candidate: Candidate) throws -> EvaluationJournal {
        // A run that goes on must not mix what is rounded in different ways.
        let runtime =
            candidate.checkpoint.kind == .packed
            ? "inputs \((options.inputBits ?? .default).rawValue) bit, head \(options.headBits.rawValue), "
                + "keys and values \(options.kvBits.rawValue) bit"
            : options.inputBits.map { "float, inputs \($0.rawValue) bit" } ?? "float"
        return try EvaluationJournal(
            directory: directory, model: candidate.name,
            identity: EvaluationJournal.identity(
                weights: candidate.checkpoint.identity,
                configuration: candidate.checkpoint.directory.appending(path: "config.json"), runtime: runtime))
    }

    /// The models in the order of their rows, and which of them is the original.
    private func candidates() throws -> (candidates: [Candidate], original: Int?) {
        var directories = models.map(\.url)
        var original: Int?
        if let given = self.original?.url {
            func path(_ url: URL) -> String { url.standardizedFileURL.resolvingSymlinksInPath().path }
            original = directories.firstIndex { path($0) == path(given) }
            if original == nil {
                directories.insert(given, at: 0)
                original = 0
            }
        }
        let candidates = try Candidate.all(in: directories, options: options.checkpoints)
        for candidate in candidates {
            let longest = candidate.checkpoint.configuration.maximumPositions
            guard context ?? longest <= longest else {
                throw ValidationError("--context must be at most \(candidate.name)'s context of \(longest).")
            }
        }
        if original == nil, candidates.count > 1, candidates[0].checkpoint.kind == .dense { original = 0 }
        return (candidates, original)
    }
}
