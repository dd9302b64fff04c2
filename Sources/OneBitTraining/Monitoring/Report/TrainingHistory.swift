import Foundation

/// What a run has written about itself: read again for a report.
public struct TrainingHistory: Sendable {
    /// The directory's name, for print.
    public let name: String
    let description: TrainingMonitor.Description?
    let steps: [StepMetrics]
    let validations: [(step: Int, result: ValidationResult)]

    /// Reads a run's directory: that of its training checkpoints while it runs (`OUTPUT.training`, `OUTPUT.work`), or its
    /// output.
    ///
    /// - Throws: ``TrainingError/noMetrics(directory:)``.
    public init(directory: URL) throws {
        let candidates = ["", "student.training", "student"].map { directory.appending(path: $0) }
        guard let (description, lines) = candidates.lazy.compactMap(TrainingMonitor.read).first, !lines.isEmpty else {
            throw TrainingError.noMetrics(directory: directory)
        }
        self.init(name: directory.standardizedFileURL.lastPathComponent, description: description, lines: lines)
    }

    init(name: String, description: TrainingMonitor.Description?, lines: [MetricsLine]) {
        self.name = name
        self.description = description
        steps = lines.compactMap { if case .step(let metrics) = $0 { metrics } else { nil } }
        validations = lines.compactMap {
            if case .validation(let step, let result) = $0 { (step, result) } else { nil }
        }
    }

    /// The validation with the lowest perplexity.
    var best: (step: Int, result: ValidationResult)? {
        validations.filter { $0.result.perplexity.isFinite }.min { $0.result.perplexity < $1.result.perplexity }
    }

    /// Wall-clock time of the steps, and of validations and checkpoints between them.
    var seconds: Double {
        steps.reduce(0) { $0 + $1.seconds + ($1.phases[.validation] ?? 0) + ($1.phases[.checkpoint] ?? 0) }
    }

    /// Seconds of each phase over the whole run, and those of the steps that no phase accounts for.
    var phases: [(name: String, seconds: Double)] {
        var sums: [TrainingPhase: Double] = [:]
        for step in steps { sums.merge(step.phases, uniquingKeysWith: +) }
        let known = TrainingPhase.allCases.compactMap { phase in sums[phase].map { (phase.title, $0) } }
        let rest = seconds - known.reduce(0) { $0 + $1.1 }
        return known + (rest > seconds * 0.001 ? [("other", rest)] : [])
    }
}

extension TrainingPhase {
    /// For print.
    var title: String {
        switch self {
        case .data: "data"
        case .teacher: "teacher"
        case .studentForward: "student forward"
        case .head: "output head"
        case .backward: "backward"
        case .reduce: "reduce"
        case .optimizer: "optimizer"
        case .checkpoint: "checkpoints"
        case .validation: "validation"
        }
    }
}
