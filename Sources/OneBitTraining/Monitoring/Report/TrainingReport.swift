import Foundation

/// What one or several runs did, as one page of HTML that needs nothing else: plots, settings and samples.
public struct TrainingReport: Sendable {
    private let runs: [TrainingHistory]

    /// - Parameter runs: One, or several to compare.
    public init(_ runs: [TrainingHistory]) { self.runs = runs }

    /// The page.
    public var html: String {
        let names = runs.map { HTML.escaped($0.name) }.joined(separator: ", ")
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
            <title>Training report: \(names)</title>
            <style>\(Self.style)</style>
            </head>
            <body>
            <h1>Training report</h1>
            \(summary)
            <h2>Loss</h2>
            \(section(lossPlots))
            \(section(validationPlots, title: "Validation"))
            <h2>Optimizer</h2>
            \(section(optimizerPlots))
            <h2>Machine</h2>
            \(section(machinePlots))
            \(phases)
            \(samples)
            \(settings)
            </body>
            </html>

            """
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
                    run: index,
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
                run: index,
                points: run.validations.compactMap { validation in
                    value(validation.result).map { LinePlot.Point(x: Double(validation.step), y: $0) }
                })
        }
        let references = runs.enumerated().map { index, run in
            var line = line(index, run, reference)
            line.isReference = true
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
                plot(part.replacing("_", with: " "), isNoisy: true) { $0.event.parts[part] }
            }
    }

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
                            run: index,
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

    private func section(_ plots: [LinePlot], title: String? = nil) -> String {
        let figures = plots.compactMap(\.svg)
        if figures.isEmpty { return "" }
        return (title.map { "<h2>\($0)</h2>\n" } ?? "")
            + "<div class=\"plots\">\(figures.joined(separator: "\n"))</div>"
    }

    // MARK: Tables and texts

    private func table(_ titles: [String], _ rows: [[String]], marks: (Int) -> Bool = { _ in false }) -> String {
        func cells(_ texts: [String], _ tag: String) -> String {
            texts.map { "<\(tag)>\(HTML.escaped($0))</\(tag)>" }.joined()
        }
        let body = rows.enumerated().map { index, row in
            "<tr\(marks(index) ? " class=\"differs\"" : "")>\(cells(row, "td"))</tr>"
        }
        return """
            <div class="scroll"><table><thead><tr>\(cells(titles, "th"))</tr></thead>
            <tbody>\(body.joined(separator: "\n"))</tbody></table></div>
            """
    }

    private var summary: String {
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
        return "<div class=\"runs\">\(table(titles, rows))</div>"
    }

    private var phases: String {
        let rows = runs.map { run -> String in
            let parts = run.phases
            let whole = max(parts.reduce(0) { $0 + $1.seconds }, 1e-9)
            let bars = parts.enumerated().map { index, part in
                let share = String(format: "%.2f", 100 * part.seconds / whole)
                return "<span class=\"phase\(index)\" style=\"width:\(share)%\"></span>"
            }
            let legend = parts.enumerated().map { index, part in
                let text = String(format: "%.1f %%, %.1f s", 100 * part.seconds / whole, part.seconds)
                return "<li><span class=\"chip phase\(index)\"></span>\(HTML.escaped(part.name)) \(text)</li>"
            }
            return """
                <h3>\(HTML.escaped(run.name))</h3><div class="bar">\(bars.joined())</div>\
                <ul class="legend">\(legend.joined())</ul>
                """
        }
        return "<h2>Time by phase</h2>\n" + rows.joined(separator: "\n")
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
            + table(["setting"] + runs.map(\.name), rows) { index in Set(rows[index].dropFirst()).count > 1 }
    }

    private static let colors = [
        ("#1f6fb4", "#6cb6ff"), ("#c4511d", "#ff9a66"), ("#2f8f3e", "#6fd07f"), ("#8a4fbf", "#c59bf0"),
        ("#a8871a", "#e3c558"), ("#b3336b", "#f58ab8"), ("#3d8b8b", "#74cfcf"), ("#6b6b6b", "#b5b5b5"),
        ("#735035", "#c9a083"),
    ]

    private static let style: String = {
        func rules(_ color: (Int) -> String) -> String {
            colors.indices.map { ":root{--c\($0):\(color($0))}" }.joined()
        }
        let lines = colors.indices.map { index in
            ".run\(index){stroke:var(--c\(index))}.run\(index).dot{fill:var(--c\(index))}"
                + ".phase\(index){background:var(--c\(index))}"
                + ".runs tbody tr:nth-child(\(index + 1)) td:first-child{color:var(--c\(index))}"
        }
        return """
            :root{color-scheme:light dark;--text:#1d1f23;--soft:#5c636e;--line:#d9dce1;--page:#fff;--shade:#f4f5f7}
            \(rules { colors[$0].0 })
            @media (prefers-color-scheme:dark){
            :root{--text:#e6e8eb;--soft:#9aa3af;--line:#3a3f47;--page:#16181c;--shade:#21242a}
            \(rules { colors[$0].1 })}
            body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:1200px;margin:0 auto;padding:16px}
            h1{font-size:1.5em}h2{font-size:1.2em;margin:1.6em 0 .5em}h3{font-size:1em;margin:.8em 0 .2em}
            .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:16px}
            figure{margin:0}figcaption{font-weight:600}small,.caption{color:var(--soft);font-weight:400}.caption{margin:.6em 0 0}
            svg{width:100%;height:auto;display:block}
            polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}.faint{stroke-width:1;opacity:.3}.reference{stroke-dasharray:5 4;opacity:.7}
            .grid{stroke:var(--line);stroke-width:1}.tick{fill:var(--soft);font-size:15px}
            table{border-collapse:collapse;font-variant-numeric:tabular-nums}
            th,td{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere;min-width:4em}
            th{color:var(--soft);font-weight:600}td:first-child{white-space:nowrap}.differs td{font-weight:600;background:var(--shade)}
            .scroll{overflow-x:auto}
            pre{background:var(--shade);padding:10px;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0}
            .bar{display:flex;height:22px;border-radius:4px;overflow:hidden}.bar span{display:block}
            .legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px;margin:.4em 0}
            .chip{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
            \(lines.joined(separator: "\n"))
            """
    }()
}
