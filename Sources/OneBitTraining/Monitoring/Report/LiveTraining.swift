import Foundation
import HTMLReports

/// Runs as they are now: what ``TrainingReport`` shows, and how far each has come.
package struct LiveTraining: Sendable {
    /// How a run stands.
    package enum State: Sendable, Hashable {
        /// Nothing of it is there yet.
        case waiting
        case training
        /// All steps are made; what becomes of the student is under way.
        case trained
        /// Its output stands.
        case done
        /// What was there is gone, and no output stands in its place.
        case gone

        fileprivate var text: String {
            switch self {
            case .waiting: "waiting for it to begin"
            case .training: "training"
            case .trained: "trained; its output is being made"
            case .done: "done"
            case .gone: "its directory is gone; this is what was there"
            }
        }
    }

    package struct Run: Sendable {
        package var state: State
        package var history: TrainingHistory
        /// Lines that could not be read.
        package var malformedLines: Int

        package init(state: State, history: TrainingHistory, malformedLines: Int) {
            self.state = state
            self.history = history
            self.malformedLines = malformedLines
        }
    }

    private let runs: [Run]

    /// - Parameter runs: one, or several to compare.
    package init(_ runs: [Run]) { self.runs = runs }

    /// The page as it is now.
    package var page: ReportPage {
        let report = TrainingReport(runs.map(\.history))
        return ReportPage(
            heading: "Training", subject: runs.map(\.history.name).joined(separator: ", "),
            sections: [
                ReportSection("status", runs.enumerated().map(status).joined(separator: "\n")),
                // Of one run the figures above say the same.
                ReportSection("summary", runs.count > 1 ? "<h2>Comparison</h2>\n" + report.summary : ""),
            ] + report.sections)
    }

    private func status(_ index: Int, _ run: Run) -> String {
        let history = run.history
        var html = """
            <h2><span class="\(ReportStyle.text(index))">●</span> \(HTML.escaped(history.name)) \
            <span class="state">\(HTML.escaped(run.state.text))</span></h2>
            """
        if let share = history.progress {
            html += """
                <svg class="progress" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" \
                aria-label="\(Int(share * 100)) % of the steps">\
                <rect class="\(ReportStyle.fill(index))" width="\(String(format: "%.2f", share * 100))" height="10"/></svg>
                """
        }
        let figures = figures(of: run).map { title, value in
            "<div><dt>\(HTML.escaped(title))</dt><dd>\(HTML.escaped(value))</dd></div>"
        }
        if !figures.isEmpty { html += "<dl class=\"figures\">\(figures.joined())</dl>" }
        if run.malformedLines > 0 {
            html += "<p class=\"caption\">Lines of the log that could not be read: \(run.malformedLines)</p>"
        }
        if let last = history.validations.last(where: { $0.result.sample != nil }) {
            html += "<p class=\"caption\">Sample after step \(last.step)</p>"
            html += "<pre>\(HTML.escaped(last.result.sample ?? ""))</pre>"
        }
        return html
    }

    private func figures(of run: Run) -> [(String, String)] {
        let history = run.history
        guard let last = history.steps.last else { return [] }
        func number(_ value: Double) -> String { value.isFinite ? String(format: "%.4g", value) : "\(value)" }
        var figures = [
            ("step", "\(last.event.step)" + (history.description.map { " of \($0.steps)" } ?? "")),
            ("loss", number(last.event.loss)),
        ]
        if let divergence = last.event.parts["kl_per_token"] { figures.append(("KL per token", number(divergence))) }
        if let rate = last.learningRates.values.max() { figures.append(("learning rate", number(rate))) }
        if let validation = history.validations.last?.result {
            figures.append(("validation perplexity", number(validation.perplexity)))
            if let divergence = validation.klDivergence { figures.append(("validation KL", number(divergence))) }
        }
        if let rate = history.recentTokensPerSecond { figures.append(("tokens per second", number(rate))) }
        if run.state == .training, let seconds = history.remainingSeconds {
            figures.append(("time left", Self.time(seconds)))
        }
        figures += [
            ("time so far", Self.time(history.seconds)),
            ("peak memory", String(format: "%.3g GB", Double(last.peakBytes) / 1e9)),
        ]
        return figures
    }

    private static func time(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds < 1e9 else { return "–" }
        return Duration.seconds(seconds.rounded()).formatted(
            .units(allowed: [.days, .hours, .minutes, .seconds], width: .narrow, maximumUnitCount: 2))
    }
}

extension TrainingHistory {
    /// Steps that tell how fast a run is now.
    private static let recentCount = 50

    /// Share of the steps that are made; nil where it is not known how many there will be.
    fileprivate var progress: Double? {
        guard let description, description.steps > 0 else { return nil }
        return min(1, max(0, Double(steps.last?.event.step ?? 0) / Double(description.steps)))
    }

    fileprivate var recentTokensPerSecond: Double? {
        let recent = steps.suffix(Self.recentCount)
        let seconds = recent.reduce(0) { $0 + $1.seconds }
        return seconds > 0 ? Double(recent.reduce(0) { $0 + $1.stepTokens }) / seconds : nil
    }

    /// At the pace of the last steps, with the validations and checkpoints between them.
    fileprivate var remainingSeconds: Double? {
        let recent = steps.suffix(Self.recentCount)
        guard let description, let last = recent.last else { return nil }
        let seconds = recent.reduce(0) { $0 + $1.secondsWithPauses }
        return seconds / Double(recent.count) * Double(max(0, description.steps - last.event.step))
    }

    /// Whether all steps are made.
    package var isComplete: Bool { progress == 1 }

    /// Whether it is not known what the run is.
    package var isWithoutDescription: Bool { description == nil }

    /// How far it is, in a few words.
    package func stepText(isDone: Bool) -> String {
        guard let last = steps.last else { return "waiting" }
        return isDone ? "done" : "step \(last.event.step)" + (description.map { " of \($0.steps)" } ?? "")
    }
}
