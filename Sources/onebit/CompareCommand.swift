import ArgumentParser
import Foundation
import OneBitEvaluation
import OneBitRuntime
import Tokenization

struct CompareCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Compare a student's predictions with its teacher's.",
        discussion: """
            KL divergence of the student's predictions from the teacher's, agreement on the most likely tokens, and both \
            perplexities, over the windows of a text. Any two models with one tokenizer can be compared, and a model with \
            itself, its inputs rounded otherwise. Texts and windows are those of onebit perplexity, whose help explains them.

            EXAMPLES
              onebit compare llama-7b llama-7b-onebit --text wiki.test.raw --format wikitext
              onebit compare llama-7b llama-7b-onebit --text held-out.jsonl --window 1024 --bos each --json
              onebit compare packed packed --teacher-input-bits 16 --student-input-bits 10 --text wiki.test.raw
            """
    )

    @Argument(help: "The teacher: a directory, a GGUF file, or its name on the hub.")
    var teacher: ModelLocation

    @Argument(help: "The student, likewise.")
    var student: ModelLocation

    @Option(help: ArgumentHelp("--input-bits of the teacher.", valueName: "10|16"))
    var teacherInputBits: InputPrecision?

    @Option(help: ArgumentHelp("--input-bits of the student.", valueName: "10|16"))
    var studentInputBits: InputPrecision?

    @OptionGroup(title: "Text") var text: EvaluationTextOptions
    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    mutating func locateModels() async throws {
        try await teacher.locate(quiet: progress.quiet)
        try await student.locate(quiet: progress.quiet)
    }

    func run() throws {
        let texts = try text.texts()
        let teacherTokenizer = try loadTokenizer(from: teacher.url)
        let studentTokenizer = try loadTokenizer(from: student.url)
        let teacher = try loadModel(directory: self.teacher.url, options: options.rounding(to: teacherInputBits))
        let student = try loadModel(directory: self.student.url, options: options.rounding(to: studentInputBits))
        let plan = try text.plan(
            context: min(teacher.configuration.maximumPositions, student.configuration.maximumPositions))
        let comparison = ModelComparison(plan)

        var results: [ModelComparisonResult] = []
        for text in texts {
            let tokens = try ModelComparison.commonTokens(teacher: teacherTokenizer, student: studentTokenizer) {
                try self.text.tokens(of: text, plan: plan, tokenizer: $0, configuration: teacher.configuration)
            }
            let meter = progress.meter(text.name, total: plan.windowCount(of: tokens), unit: "windows")
            results.append(
                try comparison.evaluate(teacher: teacher, student: student, text: tokens) { soFar in
                    meter.update(
                        done: soFar.teacher.windows,
                        note: "KL \(Quantity.fixed(soFar.divergence.mean, digits: 3))")
                    try Task.checkCancellation()
                })
            meter.finish()
        }
        let report = ComparisonReport(
            results, teacher: self.teacher.name, student: self.student.name,
            sequences: try text.description(tokenizer: teacherTokenizer))
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }
}

/// The figures of a comparison on one text.
struct ComparisonFigures: Encodable {
    /// A figure and how far it may be off.
    struct Figure: Encodable {
        let value: Double
        let standardError: Double?

        init(_ value: Double, _ standardError: Double?) {
            self.value = value
            self.standardError = standardError
        }

        init(_ mean: ClusteredMean) { self.init(mean.mean, mean.standardError) }

        fileprivate func text(digits: Int, scale: Double = 1) -> (value: String, error: String) {
            func fixed(_ value: Double) -> String { Quantity.fixed(value * scale, digits: digits) }
            return (fixed(value), standardError.map(fixed) ?? "-")
        }
    }

    let source: String
    /// Mean over tokens, nats.
    let klDivergence: Figure
    let klDivergenceMedian: Double
    let klDivergenceP99: Double
    let klDivergenceLargest: Double
    let topOneAgreement: Figure
    let topFiveAgreement: Figure
    let teacherPerplexity: Figure
    let studentPerplexity: Figure
    let perplexityRatio: Figure
    let windows: Int
    let tokensPredicted: Int

    init(_ result: ModelComparisonResult) {
        source = result.teacher.text
        klDivergence = Figure(result.divergence)
        klDivergenceMedian = result.medianDivergence
        klDivergenceP99 = result.divergence99
        klDivergenceLargest = result.largestDivergence
        topOneAgreement = Figure(result.topOneAgreement)
        topFiveAgreement = Figure(result.topFiveAgreement)
        teacherPerplexity = Figure(result.teacher.perplexity, result.teacher.standardError)
        studentPerplexity = Figure(result.student.perplexity, result.student.standardError)
        perplexityRatio = Figure(result.perplexityRatio, result.perplexityRatioError)
        windows = result.teacher.windows
        tokensPredicted = result.teacher.tokensScored
    }

    /// What the figures mean, by their keys.
    static func definitions(_ plan: WindowPlan) -> [String: String] {
        [
            "kl_divergence": ModelComparisonResult.divergenceDefinition,
            "top_one_agreement": ModelComparisonResult.topOneDefinition,
            "top_five_agreement": ModelComparisonResult.topFiveDefinition,
            "perplexity": PerplexityResult.definition(plan),
            "perplexity_ratio": ModelComparisonResult.ratioDefinition,
            "standard_error": PerplexityResult.standardErrorDefinition,
        ]
    }

    /// A figure a line.
    var table: TextTable {
        var table = TextTable([.text(source), .figure("value"), .figure("±")])
        func append(_ name: String, _ figure: Figure, digits: Int = 4, scale: Double = 1) {
            let (value, error) = figure.text(digits: digits, scale: scale)
            table.append([name, value, error])
        }
        append("KL divergence, mean", klDivergence, digits: 6)
        table.append(["KL divergence, median", Quantity.fixed(klDivergenceMedian, digits: 6)])
        table.append(["KL divergence, 99 %", Quantity.fixed(klDivergenceP99, digits: 6)])
        append("top-1 agreement, %", topOneAgreement, digits: 2, scale: 100)
        append("top-5 agreement, %", topFiveAgreement, digits: 2, scale: 100)
        append("perplexity, teacher", teacherPerplexity)
        append("perplexity, student", studentPerplexity)
        append("ratio of the two", perplexityRatio)
        return table
    }
}

/// What `compare` prints.
struct ComparisonReport: Encodable {
    private let definitions: [String: String]
    private let teacher: String
    private let student: String
    private let beginOfSequence: String
    private let files: [ComparisonFigures]

    /// - Parameter results: one a file, at least one.
    init(_ results: [ModelComparisonResult], teacher: String, student: String, sequences: String) {
        definitions = ComparisonFigures.definitions(results[0].teacher.plan)
        self.teacher = teacher
        self.student = student
        beginOfSequence = sequences
        files = results.map(ComparisonFigures.init)
    }

    /// For people: a table a file, and what the figures mean.
    var text: String {
        let tables = files.map {
            "\($0.table.text)\(Quantity.grouped($0.tokensPredicted)) tokens predicted in \(Quantity.grouped($0.windows)) "
                + "windows.\n\n"
        }
        let order = [
            "kl_divergence", "top_one_agreement", "top_five_agreement", "perplexity", "perplexity_ratio",
            "standard_error",
        ]
        return "teacher \(teacher), student \(student); \(beginOfSequence)\n\n" + tables.joined()
            + order.compactMap { definitions[$0] }.map { $0 + ".\n" }.joined()
    }
}
