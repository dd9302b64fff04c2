import Foundation

/// What a run has written about itself: read again for a report.
public struct TrainingHistory: Sendable {
    /// The directory's name, for print.
    public let name: String
    private(set) var description: TrainingMonitor.Description?
    private(set) var steps: [StepMetrics] = []
    private(set) var validations: [(step: Int, result: ValidationResult)] = []

    /// Reads a run's directory: that of its training checkpoints while it runs (`OUTPUT.training`, `OUTPUT.work`), or its
    /// output.
    ///
    /// - Throws: ``TrainingError/noMetrics(directory:)``.
    public init(directory: URL) throws {
        let candidates = [""] + Self.workFolders
        let directories = candidates.map { directory.appending(path: $0) }
        guard let (description, lines) = directories.lazy.compactMap(TrainingMonitor.read).first, !lines.isEmpty else {
            throw TrainingError.noMetrics(directory: directory)
        }
        self.init(name: directory.standardizedFileURL.lastPathComponent, description: description, lines: lines)
    }

    /// Where the work directory of a compression has its training: while it runs, and behind it.
    package static let workFolders = ["student.training", "student"]

    init(name: String, description: TrainingMonitor.Description?, lines: [MetricsLine]) {
        self.name = name
        self.description = description
        for line in lines { append(line) }
    }

    private mutating func append(_ line: MetricsLine) {
        switch line {
        case .step(let metrics): steps.append(metrics)
        case .validation(let step, let result): validations.append((step, result))
        }
    }

    /// Nothing of a run yet.
    package init(name: String) { self.init(name: name, description: nil, lines: []) }

    /// Takes a line of ``logName`` in.
    ///
    /// - Returns: Whether it could be read.
    package mutating func append(line: Data) -> Bool {
        guard let line = MetricsLine(line) else { return false }
        append(line)
        return true
    }

    /// Reads what the run says of itself beside its log.
    package mutating func readDescription(in directory: URL) {
        description = TrainingMonitor.description(in: directory) ?? description
    }

    /// The file of lines in a run's directory.
    package static let logName = TrainingMonitor.logName

    /// The validation with the lowest perplexity.
    var best: (step: Int, result: ValidationResult)? {
        validations.filter { $0.result.perplexity.isFinite }.min { $0.result.perplexity < $1.result.perplexity }
    }

    /// Wall-clock time of the steps, and of validations and checkpoints between them.
    var seconds: Double {
        steps.reduce(0) { $0 + $1.secondsWithPauses }
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

extension StepMetrics {
    /// Of the step, and of the checkpoint and validation before it.
    var secondsWithPauses: Double { seconds + (phases[.validation] ?? 0) + (phases[.checkpoint] ?? 0) }
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
