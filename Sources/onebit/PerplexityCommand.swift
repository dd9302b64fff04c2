import ArgumentParser
import Foundation
import OneBitEvaluation
import OneBitRuntime
import Tokenization

struct PerplexityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "perplexity",
        abstract: "Measure how well a model predicts a text.",
        discussion: """
            The protocol of GPTQ and OneBit: texts joined by an empty line, tokenised once with one \
            beginning-of-sequence token in front, cut into windows that do not overlap, the tail dropped; exp of the \
            mean over windows of the mean negative log-likelihood of a window's predictions.

            A .jsonl file holds one {"text": …} a line, any other file is one text. --format wikitext reads \
            wiki.test.raw as the data set wikitext-2-raw-v1 that published figures are computed on: every line a text \
            that keeps its line end, blank lines empty.

            EXAMPLES
              onebit perplexity packed --text stories.jsonl --window 256 --bos each
              onebit perplexity packed --text wiki.test.raw --format wikitext
              onebit perplexity packed --text book.txt --limit-windows 20 --json
            """
    )

    @Argument(help: "Directory of the model.")
    var model: URL

    @Option(parsing: .upToNextOption, help: ArgumentHelp("Files of text.", valueName: "file"))
    var text: [URL]

    @Option(
        help: ArgumentHelp(
            "How texts of a file are told apart: plain, jsonl or wikitext; by the file's name without it.",
            valueName: "format"))
    var format: EvaluationTextFormat?

    @Option(help: ArgumentHelp("Tokens per window; 2048, or the model's context if it is shorter.", valueName: "n"))
    var window: Int?

    @Option(help: ArgumentHelp("Windows to evaluate at the most, from the front.", valueName: "n"))
    var limitWindows: Int?

    @Option(help: "Beginning-of-sequence tokens: one in front, one before each text (then not joined), or none.")
    var bos = BeginOfSequencePlacement.front

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    func run() throws {
        let model = try loadModel(directory: model, options: options)
        let tokenizer = try loadTokenizer(from: self.model)
        let window = window ?? min(2048, model.configuration.maximumPositions)
        let perplexity = try Perplexity(window: window, windowLimit: limitWindows)
        let text = try EvaluationText(files: text, format: format)
        let begin = tokenizer.beginOfSequence ?? model.configuration.beginOfSequence
        let tokens = text.tokens(tokenizer: tokenizer, beginOfSequence: begin, placement: bos)

        let windows = min(tokens.count / window, limitWindows ?? .max)
        let meter = progress.meter("perplexity", total: windows, unit: "windows")
        let start = ContinuousClock.now
        let result = try perplexity.evaluate(model, tokens: tokens) { soFar, _ in
            meter.update(done: soFar.windows, note: Quantity.fixed(soFar.perplexity, digits: 3))
            try Interruption.check()
        }
        meter.finish()
        let report = PerplexityReport(
            result, text: text.name, tokenizer: self.model.lastPathComponent, bos: begin == nil ? .none : bos,
            seconds: (ContinuousClock.now - start) / .seconds(1))
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }
}

extension EvaluationTextFormat: ExpressibleByArgument {}
extension BeginOfSequencePlacement: ExpressibleByArgument {}

/// What `perplexity` prints: the figure and all that it means.
private struct PerplexityReport: Encodable {
    let perplexity: Double
    let meanNegativeLogLikelihood: Double
    let definition: String
    let source: String
    let tokenizer: String
    let beginOfSequence: String
    let window: Int
    let windows: Int
    let tokens: Int
    let tokensInText: Int
    let tokensPerSecond: Double

    init(_ result: PerplexityResult, text: String, tokenizer: String, bos: BeginOfSequencePlacement, seconds: Double) {
        perplexity = result.perplexity
        meanNegativeLogLikelihood = result.meanNegativeLogLikelihood
        definition = result.definition
        source = text
        self.tokenizer = tokenizer
        beginOfSequence = bos.rawValue
        window = result.window
        windows = result.windows
        tokens = result.tokens
        tokensInText = result.tokensInText
        tokensPerSecond = Double(result.tokens) / max(seconds, 1e-9)
    }

    var text: String {
        """
        perplexity \(Quantity.fixed(perplexity, digits: 4))
        \(definition); BOS: \(beginOfSequence).
        text: \(source), \(Quantity.grouped(tokensInText)) tokens of \(tokenizer)'s tokenizer, of which \
        \(Quantity.grouped(tokens)) in \(Quantity.grouped(windows)) windows were evaluated, \
        \(Quantity.fixed(tokensPerSecond, digits: 0)) a second.

        """
    }
}
