import Foundation
import HTMLReports
import OneBitEvaluation

/// What `evaluate --json` prints. Shares are between 0 and 1.
struct EvaluationReport: Encodable {
    struct Figure: Encodable {
        let value: Double
        /// Nil for a single item.
        let standardError: Double?

        init(_ estimate: Estimate) {
            value = estimate.value
            standardError = estimate.standardError
        }
    }

    struct Subject: Encodable {
        let name: String
        let items: Int
        let metrics: [String: Figure]
    }

    struct Task: Encodable {
        let task: String
        let items: Int
        /// Items longer than the context, which lost their beginning.
        let truncated: Int
        /// Items left out (--skip-malformed).
        let malformed: Int
        let metrics: [String: Figure]
        /// The measure that counts in the average.
        let tableMetric: String
        /// That measure over the original's.
        let kept: Double?
        /// Nil where the task has none.
        let subjects: [Subject]?
    }

    struct Text: Encodable {
        let name: String
        let text: String
        let definition: String
        let perplexity: Double
        let windows: Int
    }

    struct Model: Encodable {
        let model: String
        let directory: String
        let kind: String
        let tasks: [Task]
        let perplexities: [Text]
        /// Mean of the tasks' table metrics.
        let average: Double
        /// The average over the original's.
        let kept: Double?
        let seconds: Double
    }

    let models: [Model]
    let original: String?
    let beginOfSequence: String
    let definition: String

    /// For the tables.
    private let results: [ModelResult]
    private let originalIndex: Int?

    private enum CodingKeys: String, CodingKey {
        case models, original, beginOfSequence, definition
    }

    init(_ results: [ModelResult], original: Int?, bos: EvaluateCommand.BeginOfSequence, context: Int? = nil) {
        self.results = results
        originalIndex = original
        let reference = original.map { results[$0] }
        models = results.map { Model($0, original: reference) }
        self.original = reference?.name
        beginOfSequence = bos.rawValue
        definition = Self.definition(of: results[0], bos: bos, context: context)
    }

    private static func definition(
        of result: ModelResult, bos: EvaluateCommand.BeginOfSequence, context: Int?
    ) -> String {
        let titles = Dictionary(grouping: result.tasks) { $0.task.tableMetric }.mapValues {
            $0.map(\.task.title).joined(separator: ", ")
        }
        let measures = TaskMetric.allCases.compactMap { metric in titles[metric].map { "\(metric.rawValue) of \($0)" } }
        var sentences = [
            "Prompts and measures of lm-evaluation-harness 0.4.13; in the first table \(measures.joined(separator: ", "))",
            "special tokens around a prompt: \(bos == .tokenizer ? "the tokenizer's" : "none")",
        ]
        if let context { sentences.append("of an item at most \(Quantity.grouped(context)) tokens are read") }
        if let (_, perplexity) = result.perplexities.first {
            sentences.append(PerplexityResult.definition(perplexity.plan))
        }
        return sentences.joined(separator: "; ") + "."
    }

    /// The table of the paper, what its figures mean, and all the measures with their standard errors.
    var markdown: String {
        """
        \(summary.markdown)
        \(legend)

        \(details.markdown)
        """
    }

    /// What the summary's figures mean.
    var legend: String {
        let kept = original.map { "\nKept: the average as a share of \($0)'s." } ?? ""
        return "Accuracies in percent. \(definition)\(kept)"
    }

    /// A model a line, a task a column.
    var summary: TextTable {
        let first = results[0]
        var table = TextTable(
            [.text("Model")] + first.perplexities.map { .figure($0.text.title) }
                + first.tasks.map { .figure($0.task.title) } + [.figure("Avg.")]
                + (originalIndex == nil ? [] : [.figure("Kept")]))
        for (result, model) in zip(results, models) {
            table.append(
                [model.model] + result.perplexities.map { Quantity.fixed($0.result.perplexity, digits: 2) }
                    + result.tasks.map { Self.percent($0.tableEstimate.value) } + [Self.percent(model.average)]
                    + (model.kept.map { [Quantity.fixed($0 * 100, digits: 1) + " %"] } ?? []))
        }
        return table
    }

    private var details: TextTable {
        let metrics = TaskMetric.allCases.filter { metric in
            results[0].tasks.contains { $0.result.metrics[metric] != nil }
        }
        var table = TextTable(
            [.text("Model"), .text("Task"), .figure("Items"), .figure("Truncated"), .figure("Left out")]
                + metrics.map { .figure($0.rawValue) })
        for result in results {
            for task in result.tasks {
                let figures = metrics.map { metric in
                    task.result.metrics[metric].map { Self.text(of: $0, metric: metric) } ?? ""
                }
                let counts = [task.result.itemCount, task.result.truncatedCount, task.malformedCount]
                table.append([result.name, task.task.name] + counts.map(Quantity.grouped) + figures)
            }
        }
        return table
    }

    private static func text(of estimate: Estimate, metric: TaskMetric) -> String {
        let scale = metric == .perplexity ? 1.0 : 100
        let error = estimate.standardError.map { " ± " + Quantity.fixed($0 * scale, digits: 2) } ?? ""
        return Quantity.fixed(estimate.value * scale, digits: 2) + error
    }

    private static func percent(_ share: Double) -> String { Quantity.fixed(share * 100, digits: 2) }
}

// MARK: The page

extension EvaluationReport {
    /// The report for a browser.
    var page: ReportPage {
        get throws {
            ReportPage(
                heading: "Evaluation", subject: models.map(\.model).joined(separator: ", "),
                sections: [
                    ReportSection(
                        "summary",
                        "<div class=\"runs\">\(HTML.table(summary.columns.map(\.title), summary.rows))</div>"
                            + legend.split(separator: "\n").map {
                                "<p class=\"caption\">\(HTML.escaped(String($0)))</p>"
                            }.joined()),
                    ReportSection(
                        "tasks", title: "Tasks", figures: [taskPlot, averagePlot, keptPlot].map { $0?.figure }),
                    ReportSection("texts", title: "Perplexity", figures: perplexityPlots.map(\.figure)),
                    ReportSection(
                        "details", "<h2>All measures</h2>" + HTML.table(details.columns.map(\.title), details.rows)),
                ], numbers: try jsonText(self, onOneLine: true))
        }
    }

    private var taskPlot: BarPlot {
        BarPlot(
            title: "Accuracy", unit: "%, ± standard error", digits: 2, series: models.map(\.model),
            groups: results[0].tasks.indices.map { task in
                BarPlot.Group(
                    "\(results[0].tasks[task].task.title) (\(models[0].tasks[task].tableMetric))",
                    results.enumerated().map { index, result in
                        let estimate = result.tasks[task].tableEstimate
                        return BarPlot.Bar(
                            series: index, value: 100 * estimate.value,
                            standardError: estimate.standardError.map { 100 * $0 })
                    })
            })
    }

    private var averagePlot: BarPlot {
        BarPlot(
            title: "Average", unit: "%", digits: 2, series: models.map(\.model),
            groups: [
                .init(
                    "Mean of \(results[0].tasks.count)",
                    models.enumerated().map { .init(series: $0.offset, value: 100 * $0.element.average) })
            ])
    }

    /// Relative to the original; nil where there is none.
    private var keptPlot: BarPlot? {
        guard let original else { return nil }
        func bars(_ kept: (Model) -> Double?) -> [BarPlot.Bar] {
            models.enumerated().compactMap { index, model in
                kept(model).map { BarPlot.Bar(series: index, value: 100 * $0) }
            }
        }
        return BarPlot(
            title: "Kept of what \(original) has", unit: "%", digits: 1, series: models.map(\.model),
            groups: [.init("Mean over the tasks", bars(\.kept))]
                + results[0].tasks.indices.map { task in
                    .init(results[0].tasks[task].task.title, bars { $0.tasks[task].kept })
                })
    }

    private var perplexityPlots: [BarPlot] {
        models[0].perplexities.indices.map { text in
            BarPlot(
                title: "Perplexity per token of \(models[0].perplexities[text].name)", digits: 2,
                series: models.map(\.model),
                groups: [
                    .init(
                        models[0].perplexities[text].text,
                        models.enumerated().map {
                            .init(series: $0.offset, value: $0.element.perplexities[text].perplexity)
                        })
                ])
        }
    }
}

extension EvaluationReport.Model {
    fileprivate init(_ result: ModelResult, original: ModelResult?) {
        model = result.name
        directory = result.checkpoint.directory.path
        kind = result.checkpoint.kind.rawValue
        tasks = result.tasks.enumerated().map { index, task in
            EvaluationReport.Task(task, original: original?.tasks[index])
        }
        perplexities = result.perplexities.map { text, result in
            EvaluationReport.Text(
                name: text.title, text: text.text.name, definition: PerplexityResult.definition(result.plan),
                perplexity: result.perplexity,
                windows: result.windows)
        }
        average = result.average
        kept = original.map { result.average / $0.average }
        seconds = result.seconds
    }
}

extension EvaluationReport.Task {
    fileprivate init(_ task: ModelResult.Task, original: ModelResult.Task?) {
        self.task = task.task.name
        items = task.result.itemCount
        truncated = task.result.truncatedCount
        malformed = task.malformedCount
        metrics = Self.figures(task.result.metrics)
        tableMetric = task.task.tableMetric.rawValue
        kept = original.map { task.tableEstimate.value / $0.tableEstimate.value }
        let subjects = task.result.subjects.map { subject in
            EvaluationReport.Subject(
                name: subject.name, items: subject.metrics.values.first?.count ?? 0,
                metrics: Self.figures(subject.metrics))
        }
        self.subjects = subjects.isEmpty ? nil : subjects
    }

    private static func figures(_ metrics: [TaskMetric: Estimate]) -> [String: EvaluationReport.Figure] {
        Dictionary(uniqueKeysWithValues: metrics.map { ($0.key.rawValue, EvaluationReport.Figure($0.value)) })
    }
}

/// A line of `evaluate --items`: what a model makes of an item.
private struct ItemLine: Encodable {
    let model: String
    let task: String
    let subject: String?
    let file: String
    let line: Int
    /// The right choice, counted from zero.
    let answer: Int
    /// Of every choice, in nats.
    let logLikelihoods: [Double]
    /// Characters of every choice, which acc_norm divides by.
    let lengths: [Int]
    /// Whether greedy decoding writes the choice.
    let greedy: [Bool]
    let truncated: Bool
    /// Nil where the item is not multiple choice.
    let acc: Int?
    let accNorm: Int?
}

/// Every item of every task and model as a line of JSON.
func itemLines(_ results: [ModelResult]) throws -> String {
    var lines = ""
    for result in results {
        for task in result.tasks {
            for item in task.items {
                let isMultipleChoice = task.task.scoring == .multipleChoice
                lines += try jsonText(
                    ItemLine(
                        model: result.name, task: task.task.name, subject: item.item.subject, file: item.item.file,
                        line: item.item.line, answer: item.item.answer,
                        logLikelihoods: item.scores.map(\.logLikelihood), lengths: item.item.choices.map(\.length),
                        greedy: item.scores.map(\.isGreedy), truncated: item.isTruncated,
                        acc: isMultipleChoice ? (item.isRight ? 1 : 0) : nil,
                        accNorm: isMultipleChoice ? (item.isRightNormalized ? 1 : 0) : nil),
                    onOneLine: true)
                lines += "\n"
            }
        }
    }
    return lines
}
