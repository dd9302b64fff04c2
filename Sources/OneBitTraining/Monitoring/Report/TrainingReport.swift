import Foundation
import HTMLReports
import JSON

/// What one or several runs did, as one page of HTML that needs nothing else: plots, settings and samples.
public struct TrainingReport: Sendable {
    private let runs: [TrainingHistory]

    /// - Parameter runs: One, or several to compare.
    public init(_ runs: [TrainingHistory]) { self.runs = runs }

    /// The page.
    public var html: String { page.html }

    private var page: ReportPage {
        ReportPage(
            heading: "Training report", subject: runs.map(\.name).joined(separator: ", "),
            sections: [ReportSection("summary", summary)] + sections,
            numbers: JSONValue.object(
                JSONObject([
                    ("runs", .array(runs.map { .string($0.name) })),
                    ("plots", .array(plots.flatMap(\.plots).map(\.numbers))),
                ])
            ).serialized())
    }

    /// Everything behind the summary.
    package var sections: [ReportSection] {
        plots.map { ReportSection($0.id, title: $0.title, figures: $0.plots.map(\.figure)) } + [
            ReportSection("phases", phases), ReportSection("samples", samples), ReportSection("settings", settings),
        ]
    }

    private var plots: [(id: String, title: String, plots: [LinePlot])] {
        [
            ("loss", "Loss", lossPlots), ("validation", "Validation", validationPlots),
            ("optimizer", "Optimizer", optimizerPlots), ("machine", "Machine", machinePlots),
        ]
    }

    // MARK: Plots

    private typealias Value = (StepMetrics) -> Double?

    private func plot(
        _ title: String, unit: String = "", isLogarithmic: Bool = false, isNoisy: Bool = false, _ value: Value
    ) -> LinePlot {
        LinePlot(
            title: title, unit: unit,
            lines: runs.enumerated().map { index, run in
                LinePlot.Line(
                    name: run.name, series: index,
                    points: run.steps.compactMap { metrics in
                        value(metrics).map { LinePlot.Point(x: Double(metrics.event.step), y: $0) }
                    }, isNoisy: isNoisy)
            }, isLogarithmic: isLogarithmic)
    }

    private func validationPlot(
        _ title: String, unit: String = "", isLogarithmic: Bool = false, _ value: (ValidationResult) -> Double?,
        reference: (ValidationResult) -> Double? = { _ in nil }
    ) -> LinePlot {
        func line(_ index: Int, _ run: TrainingHistory, _ value: (ValidationResult) -> Double?) -> LinePlot.Line {
            LinePlot.Line(
                name: run.name, series: index,
                points: run.validations.compactMap { validation in
                    value(validation.result).map { LinePlot.Point(x: Double(validation.step), y: $0) }
                })
        }
        let references = runs.enumerated().map { index, run in
            var line = line(index, run, reference)
            line.isReference = true
            line.name += "'s teacher"
            return line
        }
        return LinePlot(
            title: title, unit: unit, lines: references + runs.enumerated().map { line($0, $1, value) },
            isLogarithmic: isLogarithmic)
    }

    private var lossPlots: [LinePlot] {
        let parts = Set(runs.flatMap { $0.steps.first.map { Array($0.event.parts.keys) } ?? [] }).sorted()
        let spread = runs.flatMap(\.steps).map(\.event.loss).filter { $0.isFinite && $0 > 0 }
        let isWide = (spread.max() ?? 1) > 20 * (spread.min() ?? 1)
        return [plot("Loss", isLogarithmic: isWide, isNoisy: true) { $0.event.loss }]
            + parts.map { part in
                plot(Self.partTitles[part] ?? part, isNoisy: true) { $0.event.parts[part] }
            }
    }

    /// How the parts of the loss read, by their names in the log.
    private static let partTitles = [
        "kl_per_token": "KL per token", "hidden": "Hidden states", "attention": "Attention maps",
        "language_model": "Language model", "cross_entropy": "Cross-entropy",
    ]

    private var validationPlots: [LinePlot] {
        [
            validationPlot("Validation perplexity (dashed: the teacher's)", isLogarithmic: true) {
                $0.perplexity
            } reference: {
                $0.teacherPerplexity
            },
            validationPlot("KL divergence from the teacher", unit: "nats per token") { $0.klDivergence },
            validationPlot("Top-1 agreement with the teacher", unit: "%") { $0.topOneAgreement.map { $0 * 100 } },
        ]
    }

    private var optimizerPlots: [LinePlot] {
        [
            plot("Learning rate, the highest of the groups") { $0.learningRates.values.max() },
            plot("Gradient norm before clipping", isLogarithmic: true, isNoisy: true) { $0.event.gradientNorm },
            plot("Signs turned by a step", unit: "%", isNoisy: true) { $0.turnedSigns.map { $0 * 100 } },
        ]
    }

    private var machinePlots: [LinePlot] {
        var plots = [
            plot("Speed", unit: "tokens per second", isNoisy: true) { $0.tokensPerSecond },
            plot("Peak memory", unit: "GB") { Double($0.peakBytes) / 1e9 },
        ]
        if runs.allSatisfy({ $0.description?.peakOperationsPerSecond != nil }) {
            plots.append(
                LinePlot(
                    title: "Model FLOPs utilization", unit: "%",
                    lines: runs.enumerated().map { index, run in
                        let peak = run.description?.peakOperationsPerSecond ?? .nan
                        return LinePlot.Line(
                            name: run.name, series: index,
                            points: run.steps.map {
                                LinePlot.Point(x: Double($0.event.step), y: 100 * $0.operationsPerSecond / peak)
                            }, isNoisy: true)
                    }))
        } else {
            plots.append(
                plot("Model arithmetic", unit: "10⁹ operations per second", isNoisy: true) {
                    $0.operationsPerSecond / 1e9
                })
        }
        return plots
    }

    // MARK: Tables and texts

    /// A row a run.
    package var summary: String {
        func figure(_ value: Double?, _ format: String) -> String { value.map { String(format: format, $0) } ?? "–" }
        let rows = runs.map { run -> [String] in
            let (last, best) = (run.steps.last, run.best)
            let tokens = run.steps.reduce(0) { $0 + $1.stepTokens }
            let seconds = run.steps.reduce(0) { $0 + $1.seconds }
            return [
                "● \(run.name)",
                "\(last?.event.step ?? 0)\(run.description.map { " of \($0.steps)" } ?? "")",
                Axis.label(Double(last?.tokens ?? 0)), figure(last?.event.loss, "%.4g"),
                best.map { String(format: "%.4g", $0.result.perplexity) + " (step \($0.step))" } ?? "–",
                figure(best?.result.klDivergence, "%.4g"),
                figure(best?.result.topOneAgreement.map { $0 * 100 }, "%.1f %%"),
                figure(seconds > 0 ? Double(tokens) / seconds : nil, "%.4g"),
                figure(run.steps.map(\.peakBytes).max().map { Double($0) / 1e9 }, "%.3g GB"),
                Duration.seconds(run.seconds).formatted(
                    .units(allowed: [.days, .hours, .minutes, .seconds], width: .narrow)),
            ]
        }
        let titles = [
            "run", "steps", "tokens", "last loss", "best validation perplexity", "KL at that step", "top-1 agreement",
            "tokens/s", "peak memory", "time",
        ]
        return "<div class=\"runs\">\(HTML.table(titles, rows))</div>"
    }

    private var phases: String {
        let rows = runs.compactMap { run -> String? in
            let parts = run.phases
            let whole = parts.reduce(0) { $0 + $1.seconds }
            guard whole > 0 else { return nil }
            var begin = 0.0
            let bars = parts.enumerated().map { index, part in
                let width = 100 * part.seconds / whole
                defer { begin += width }
                let place = String(format: "x=\"%.2f\" width=\"%.2f\"", begin, width)
                return "<rect class=\"\(ReportStyle.fill(index))\" \(place) height=\"10\"/>"
            }
            let legend = parts.enumerated().map { index, part in
                (index, part.name + String(format: " %.1f %%, %.1f s", 100 * part.seconds / whole, part.seconds))
            }
            return """
                <h3>\(HTML.escaped(run.name))</h3>\
                <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">\(bars.joined())</svg>\
                \(HTML.legend(legend))
                """
        }
        return rows.isEmpty ? "" : "<h2>Time by phase</h2>\n" + rows.joined(separator: "\n")
    }

    /// The sample texts of a few validations, the last among them.
    private var samples: String {
        let runs = runs.compactMap { run -> String? in
            let texts = run.validations.filter { $0.result.sample != nil }
            guard !texts.isEmpty else { return nil }
            let shown = (0..<min(6, texts.count)).map {
                texts[$0 * (texts.count - 1) / max(1, min(6, texts.count) - 1)]
            }
            return "<h3>\(HTML.escaped(run.name))</h3>"
                + shown.map {
                    "<p class=\"caption\">Step \($0.step)</p><pre>\(HTML.escaped($0.result.sample ?? ""))</pre>"
                }.joined(separator: "\n")
        }
        return runs.isEmpty ? "" : "<h2>Samples</h2>\n" + runs.joined(separator: "\n")
    }

    private var settings: String {
        let all = runs.map { run -> [String: String] in
            guard let description = run.description else { return [:] }
            var values = description.settings.merging(description.execution) { $1 }
            values["parameters"] = "\(description.parameters)"
            values["version"] = description.version
            return values
        }
        let keys = Set(all.flatMap(\.keys)).sorted()
        if keys.isEmpty { return "" }
        let rows = keys.map { key in [key] + all.map { $0[key] ?? "–" } }
        return "<h2>Settings</h2>\n"
            + HTML.table(["setting"] + runs.map(\.name), rows) { index in Set(rows[index].dropFirst()).count > 1 }
    }
}
