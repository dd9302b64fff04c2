import Foundation
import HTMLReports
import OneBitEvaluation

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
    let teacher: String
    let student: String
    let beginOfSequence: String
    let files: [ComparisonFigures]

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
        return "teacher \(teacher), student \(student); \(beginOfSequence)\n\n" + tables.joined()
            + sentences.map { $0 + "\n" }.joined()
    }

    /// What the figures mean, in the order of their table.
    private var sentences: [String] {
        let order = [
            "kl_divergence", "top_one_agreement", "top_five_agreement", "perplexity", "perplexity_ratio",
            "standard_error",
        ]
        return order.compactMap { definitions[$0] }.map { $0 + "." }
    }
}

// MARK: The page

extension ComparisonReport {
    /// What the page says to programs: the report, and what its plots show besides.
    private struct Numbers: Encodable {
        struct Window: Encodable {
            let klDivergence: Double
            let topOneAgreement: Double
            let tokensPredicted: Int
        }

        let report: ComparisonReport
        /// Of each file.
        let windows: [[Window]]
    }

    /// The report for a browser.
    ///
    /// - Parameter results: those that the report is made of.
    func page(_ results: [ModelComparisonResult]) throws -> ReportPage {
        let names = files.map(\.source)
        let numbers = Numbers(
            report: self,
            windows: results.map { result in
                result.windows.map {
                    Numbers.Window(
                        klDivergence: $0.divergence, topOneAgreement: $0.topOneAgreement, tokensPredicted: $0.tokens)
                }
            })
        let distribution = LinePlot(
            title: "KL divergence of single tokens", unit: "% of them",
            lines: results.enumerated().map { index, result in
                LinePlot.Line(
                    name: names[index], series: index,
                    points: result.divergenceShares.flatMap { bin in
                        [bin.range.lowerBound, bin.range.upperBound].map { .init(x: $0, y: 100 * bin.share) }
                    })
            }, x: .init("nats", isLogarithmic: true))
        let windows = LinePlot(
            title: "KL divergence of each window", unit: "nats per token",
            lines: results.enumerated().map { index, result in
                LinePlot.Line(
                    name: names[index], series: index,
                    points: result.windows.enumerated().map {
                        .init(x: Double($0.offset + 1), y: $0.element.divergence)
                    })
            }, x: .init("window"))
        let windowAgreement = LinePlot(
            title: "Top-1 agreement in each window", unit: "%",
            lines: results.enumerated().map { index, result in
                LinePlot.Line(
                    name: names[index], series: index,
                    points: result.windows.enumerated().map {
                        .init(x: Double($0.offset + 1), y: 100 * $0.element.topOneAgreement)
                    })
            }, x: .init("window"))
        return ReportPage(
            heading: "Comparison", subject: "\(student) with \(teacher)",
            sections: [
                ReportSection("summary", summary),
                ReportSection(
                    "divergence", title: "Divergence from the teacher", figures: [windows.figure, distribution.figure]),
                ReportSection(
                    "agreement", title: "Agreement with the teacher",
                    figures: [
                        bars("Likeliest tokens", unit: "%", ["top 1", "top 5"], scale: 100, digits: 2) {
                            [$0.topOneAgreement, $0.topFiveAgreement]
                        }, windowAgreement.figure,
                    ]),
                ReportSection(
                    "perplexity", title: "Perplexity",
                    // Texts are too different for one axis.
                    figures: files.map { file in
                        bars("Perplexity per token", ["teacher", "student"], digits: 3, of: [file]) {
                            [$0.teacherPerplexity, $0.studentPerplexity]
                        }
                    } + [bars("The student's over the teacher's", [""], digits: 4) { [$0.perplexityRatio] }]),
                ReportSection(
                    "definitions",
                    "<h2>What the figures mean</h2>"
                        + ([beginOfSequence] + sentences).map { "<p>\(HTML.escaped($0))</p>" }.joined()),
            ], numbers: try jsonText(numbers, onOneLine: true))
    }

    private var summary: String {
        let tables = files.enumerated().map { index, file in
            "<div><h2><span class=\"\(ReportStyle.text(index))\">●</span> \(HTML.escaped(file.source))</h2>"
                + HTML.table([""] + file.table.columns.dropFirst().map(\.title), file.table.rows)
                + "<p class=\"caption\">\(Quantity.grouped(file.tokensPredicted)) tokens predicted in "
                + "\(Quantity.grouped(file.windows)) windows</p></div>"
        }
        return "<p>Teacher \(HTML.escaped(teacher)), student \(HTML.escaped(student)).</p>"
            + "<div class=\"plots\">\(tables.joined())</div>"
    }

    /// A group of bars for each file; for all of them unless given.
    private func bars(
        _ title: String, unit: String = "", _ series: [String], scale: Double = 1, digits: Int,
        of some: [ComparisonFigures]? = nil,
        _ figures: (ComparisonFigures) -> [ComparisonFigures.Figure]
    ) -> String? {
        BarPlot(
            title: title, unit: unit, digits: digits, series: series,
            groups: (some ?? files).map { file in
                BarPlot.Group(
                    file.source,
                    figures(file).enumerated().map { index, figure in
                        .init(
                            series: index, value: figure.value * scale,
                            standardError: figure.standardError.map { $0 * scale })
                    })
            }
        ).figure
    }
}
