import ArgumentParser
import Foundation
import OneBitEvaluation
import OneBitRuntime
import Tokenization

struct PerplexityCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "perplexity",
        abstract: "Measure how well a model predicts a text.",
        discussion: """
            exp of the mean negative log-likelihood of the tokens predicted. What is predicted from what is the protocol's; \
            figures compare within one protocol only:

            gptq: the texts of a file joined by an empty line, tokenized once, cut into windows that do not overlap, the \
            tail dropped. Papers on quantization print this one, and it is the default.

            strided: windows every --stride tokens; each predicts what none before it has (Hugging Face).

            rolling: each text by itself behind one token, every token predicted once (lm-eval's loglikelihood_rolling).

            llama.cpp: as gptq, but only the second half of a window is predicted, and BOS takes the place of its first \
            token.

            Where all tokens of the texts are predicted and nothing else, as rolling does, perplexity per word, per byte \
            and bits per byte are printed too. Several files get a figure each, and one for all their tokens together.

            A .jsonl file holds one {"text": …} a line, any other file is one text. --format wikitext reads \
            wiki.test.raw as the data set wikitext-2-raw-v1 that published figures are computed on: every line a text \
            that keeps its line end, blank lines empty. The C4 of the paper's table is 256 windows of 2,048 tokens drawn \
            from c4-validation.00000-of-00008 with --draw 256; that of other papers is the last example's.

            EXAMPLES
              onebit perplexity packed --text wiki.test.raw --format wikitext
              onebit perplexity packed --text book.txt --window 1024 --stride 512
              onebit perplexity packed --text stories.jsonl articles.jsonl --protocol rolling --json
              onebit perplexity packed --text stories.jsonl --window 256 --bos each
              onebit perplexity packed --text c4-validation.jsonl --window 2048 --draw 256
              onebit perplexity packed --text c4-validation.jsonl --limit-texts 1100 --separator " " --limit-windows 256
            """
    )

    @Argument(help: "The model, dense, float student or packed: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation

    @OptionGroup(title: "Text") var text: EvaluationTextOptions

    @Option(help: ArgumentHelp("Windows that the model is given at once.", valueName: "n"))
    var batchSize = 1

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        if !(1...4096).contains(batchSize) {
            throw ValidationError("--batch-size must lie between 1 and 4096, not \(batchSize).")
        }
    }

    mutating func locateModels() async throws { try await model.locate(quiet: progress.quiet) }

    func run() throws {
        let texts = try text.texts()
        let tokenizer = try loadTokenizer(from: self.model.url)
        let model = try loadModel(directory: model.url, options: options)
        let plan = try text.plan(context: model.configuration.maximumPositions)
        let perplexity = Perplexity(plan, batchSize: batchSize)

        var results: [PerplexityResult] = []
        let start = ContinuousClock.now
        for text in texts {
            let tokens = try self.text.tokens(
                of: text, plan: plan, tokenizer: tokenizer, configuration: model.configuration)
            let meter = progress.meter(
                text.name, total: plan.windowCount(of: tokens), unit: "windows")
            results.append(
                try perplexity.evaluate(model, text: tokens) { soFar in
                    meter.update(done: soFar.windows, note: Quantity.fixed(soFar.perplexity, digits: 3))
                    try Task.checkCancellation()
                })
            meter.finish()
        }
        guard let joint = PerplexityResult.joint(results) else { return }
        let report = PerplexityReport(
            joint: joint, files: results, tokenizer: self.model.name,
            sequences: try text.description(tokenizer: tokenizer),
            seconds: (ContinuousClock.now - start) / .seconds(1))
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }
}

/// What `perplexity` prints: the figures and all that they mean.
struct PerplexityReport: Encodable {
    /// The figures of one text, or of several together.
    struct Figures: Encodable {
        let source: String
        let perplexity: Double
        let perplexityStandardError: Double?
        let meanNegativeLogLikelihood: Double
        let wordPerplexity: Double?
        let bytePerplexity: Double?
        let bitsPerByte: Double?
        let words: Int?
        let bytes: Int?
        let windows: Int
        let tokensPredicted: Int
        let tokensInText: Int

        init(_ result: PerplexityResult) {
            source = result.text
            perplexity = result.perplexity
            perplexityStandardError = result.standardError
            meanNegativeLogLikelihood = result.negativeLogLikelihood.mean
            wordPerplexity = result.wordPerplexity
            bytePerplexity = result.bytePerplexity
            bitsPerByte = result.bitsPerByte
            words = result.extent?.words
            bytes = result.extent?.bytes
            windows = result.windows
            tokensPredicted = result.tokensScored
            tokensInText = result.tokensInText
        }
    }

    /// What the figures mean, by their keys.
    private let definitions: [String: String]
    private let joint: Figures
    private let files: [Figures]
    private let tokenizer: String
    private let beginOfSequence: String
    private let window: Int
    private let tokensPerSecond: Double

    init(joint: PerplexityResult, files: [PerplexityResult], tokenizer: String, sequences: String, seconds: Double) {
        self.joint = Figures(joint)
        self.files = files.map(Figures.init)
        self.tokenizer = tokenizer
        beginOfSequence = sequences
        window = joint.plan.length
        tokensPerSecond = Double(joint.tokensInWindows) / max(seconds, 1e-9)
        var definitions = [
            "perplexity": PerplexityResult.definition(joint.plan),
            "perplexity_standard_error": PerplexityResult.standardErrorDefinition,
        ]
        if files.contains(where: { $0.extent != nil }) {
            definitions["word_perplexity"] = PerplexityResult.wordPerplexityDefinition
            definitions["byte_perplexity"] = PerplexityResult.bytePerplexityDefinition
            definitions["bits_per_byte"] = PerplexityResult.bitsPerByteDefinition
        }
        self.definitions = definitions
    }

    private enum CodingKeys: CodingKey {
        case definitions, files, tokenizer, beginOfSequence, window, tokensPerSecond
    }

    /// The joint figures stand at the top, those of the files below `files`.
    func encode(to encoder: any Encoder) throws {
        try joint.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(definitions, forKey: .definitions)
        try container.encode(files, forKey: .files)
        try container.encode(tokenizer, forKey: .tokenizer)
        try container.encode(beginOfSequence, forKey: .beginOfSequence)
        try container.encode(window, forKey: .window)
        try container.encode(tokensPerSecond, forKey: .tokensPerSecond)
    }

    /// For people: a table, and what its columns mean.
    var text: String {
        let hasExtent = files.contains { $0.words != nil }
        var table = TextTable(
            [.text("text"), .figure("perplexity"), .figure("±")]
                + (hasExtent ? [.figure("per word"), .figure("per byte"), .figure("bits per byte")] : [])
                + [.figure("windows"), .figure("predicted"), .figure("tokens")])
        for figures in files.count > 1 ? files + [joint] : files {
            func cell(_ value: Double?) -> String { value.map { Quantity.fixed($0, digits: 4) } ?? "-" }
            let isJoint = table.rows.count == files.count
            table.append(
                [isJoint ? "all" : figures.source, cell(figures.perplexity), cell(figures.perplexityStandardError)]
                    + (hasExtent
                        ? [figures.wordPerplexity, figures.bytePerplexity, figures.bitsPerByte].map(cell) : [])
                    + [figures.windows, figures.tokensPredicted, figures.tokensInText].map(Quantity.grouped))
        }
        let lines =
            [definitions["perplexity"]]
            + (hasExtent ? ["word_perplexity", "byte_perplexity", "bits_per_byte"].map { definitions[$0] } : [])
            + [
                "±, " + PerplexityResult.standardErrorDefinition,
                "tokens: \(tokenizer)'s tokenizer; \(beginOfSequence); "
                    + "\(Quantity.fixed(tokensPerSecond, digits: 0)) a second",
            ]
        return table.text + "\n" + lines.compactMap { $0 }.map { $0 + ".\n" }.joined()
    }
}
