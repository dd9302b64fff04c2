import Foundation
import ModelDescription
import ResumableRuns
import TensorFiles

/// Watches a run: its metrics as JSON lines and as TensorBoard's event files, and how the model does on held-out text.
///
/// In the run's directory it keeps `metrics.jsonl` with a line for each step and each validation, `run.json` with what the run
/// is, and `tensorboard/` with a file for each time that the run was started. A resumption cuts lines behind its step, and
/// begins a new event file that takes back those steps.
public final class TrainingMonitor {
    /// When and how a model is validated.
    public struct Validation {
        /// Steps between two validations; the last step has one too.
        public var interval: Int
        /// What decides the figures, by the keys of a run's identity: where the best checkpoint is kept, they decide the result.
        public var identity: [String: String]
        /// Judges the model as it is after a step.
        public var judge: (_ step: Int, _ model: TorchModel) throws -> ValidationResult

        public init(
            interval: Int, identity: [String: String] = [:],
            judge: @escaping (_ step: Int, _ model: TorchModel) throws -> ValidationResult
        ) {
            self.interval = interval
            self.identity = identity
            self.judge = judge
        }
    }

    /// What a run is, for whoever reads its metrics.
    struct Description: Codable {
        /// The run's identity.
        var settings: [String: String]
        /// Where it computes.
        var execution: [String: String]
        var parameters: Int
        var steps: Int
        /// Of the device, in floating-point operations per second; nil where it is not known.
        var peakOperationsPerSecond: Double?
        var version = OneBitVersion.current
    }

    private let directory: URL
    private let validation: Validation?
    private let peakOperationsPerSecond: Double?
    private let notes: [String: String]
    private var steps = 0
    private var log: FileHandle?
    private var events: TensorBoardFile?

    static let logName = "metrics.jsonl"
    private static let descriptionName = "run.json"
    private static let eventDirectory = "tensorboard"

    /// - Parameters:
    ///   - directory: The run's.
    ///   - validation: None where nil.
    ///   - peakOperationsPerSecond: What the device can do at the run's precision, for the share of it that is used.
    ///   - notes: Where the run computes, by name.
    public init(
        directory: URL, validation: Validation? = nil, peakOperationsPerSecond: Double? = nil,
        notes: [String: String] = [:]
    ) {
        self.directory = directory
        self.validation = validation
        self.peakOperationsPerSecond = peakOperationsPerSecond
        self.notes = notes
    }

    deinit { try? log?.close() }

    /// What decides which checkpoint is the best, by the keys of a run's identity.
    var selectionIdentity: [String: String] { validation?.identity ?? [:] }

    /// Whether the model is judged after a step.
    public func validates(at step: Int) -> Bool {
        guard let validation, step > 0 else { return false }
        return step % validation.interval == 0 || step == steps
    }

    /// Before the first step of a run, or of a resumed part of it.
    ///
    /// - Parameters:
    ///   - steps: Of the whole run.
    ///   - done: Those that were made before.
    ///   - identity: What the run computes.
    ///   - parameters: Of the model.
    ///   - records: Whether anything is written: of several ranks one does, and all of them judge.
    /// - Returns: Whether the model still has to be judged as it is after the last of these: the run was stopped between step
    ///   and validation.
    func begin(
        steps: Int, done: Int, identity: RunIdentity, parameters: Int, records: Bool = true
    ) throws -> Bool {
        self.steps = steps
        guard records else { return validates(at: done) && isUnjudged(after: done) }
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let description = Description(
            settings: identity.settings, execution: notes, parameters: parameters, steps: steps,
            peakOperationsPerSecond: peakOperationsPerSecond)
        try writeAtomically(
            try JSONEncoder.metrics.encode(description), to: directory.appending(path: Self.descriptionName))
        let file = directory.appending(path: Self.logName)
        // Lines are for people who watch: what a crash has torn or lost is no reason to refuse a resumption.
        let past = MetricsLine.read(file).filter { $0.step <= done }
        try writeAtomically(try past.reduce(into: Data()) { $0 += try $1.data }, to: file)
        log = try FileHandle(forWritingTo: file)
        try log?.seekToEnd()
        let eventDirectory = directory.appending(path: Self.eventDirectory)
        if done == 0, FileManager.default.fileExists(atPath: eventDirectory.path) {
            try FileManager.default.removeItem(at: eventDirectory)
        }
        events = try TensorBoardFile(directory: eventDirectory, firstStep: done + 1, isResumed: done > 0)
        return validates(at: done) && isUnjudged(after: done)
    }

    private func isUnjudged(after step: Int) -> Bool {
        !MetricsLine.read(directory.appending(path: Self.logName))
            .contains { if case .validation(step, _) = $0 { true } else { false } }
    }

    /// Takes note of a step.
    func didStep(_ metrics: StepMetrics) throws {
        try append(.step(metrics))
        try events?.append(
            .init(metrics, peakOperationsPerSecond: peakOperationsPerSecond), step: metrics.event.step)
    }

    /// Judges the model as it is after a step.
    ///
    /// - Parameter keep: Receives the result before it is noted down: a run that is stopped in it judges again.
    func validate(after step: Int, model: TorchModel, keep: (ValidationResult) throws -> Void) throws {
        guard let result = try validation?.judge(step, model) else { return }
        try keep(result)
        try append(.validation(step: step, result))
        try events?.append(.init(result), step: step)
        if let sample = result.sample { try events?.append(.text(tag: "eval/sample", sample), step: step) }
    }

    private func append(_ line: MetricsLine) throws { try log?.write(contentsOf: line.data) }

    /// Names of what is kept in a run's directory, and in its output when it is done.
    public static let files = [logName, descriptionName, eventDirectory]

    /// Copies metrics, description and event files into another directory.
    func copy(to destination: URL) throws {
        for name in Self.files {
            let source = directory.appending(path: name)
            guard FileManager.default.fileExists(atPath: source.path) else { continue }
            try FileManager.default.copyItem(at: source, to: destination.appending(path: name))
        }
    }

    /// What a directory's `run.json` and `metrics.jsonl` say; nil without the latter.
    static func read(_ directory: URL) -> (description: Description?, lines: [MetricsLine])? {
        let file = directory.appending(path: logName)
        guard FileManager.default.fileExists(atPath: file.path) else { return nil }
        return (description(in: directory), MetricsLine.read(file))
    }

    /// What a directory's `run.json` says; nil where it is missing or not to be read.
    static func description(in directory: URL) -> Description? {
        (try? Data(contentsOf: directory.appending(path: descriptionName)))
            .flatMap { try? JSONDecoder.metrics.decode(Description.self, from: $0) }
    }
}

/// A line of `metrics.jsonl`.
enum MetricsLine: Sendable, Hashable, Codable {
    case step(StepMetrics)
    case validation(step: Int, ValidationResult)

    var step: Int {
        switch self {
        case .step(let metrics): metrics.event.step
        case .validation(let step, _): step
        }
    }

    private enum CodingKeys: CodingKey { case step, validation }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        if let result = try container.decodeIfPresent(ValidationResult.self, forKey: .validation) {
            self = .validation(step: try container.decode(Int.self, forKey: .step), result)
        } else {
            self = .step(try StepMetrics(from: decoder))
        }
    }

    func encode(to encoder: any Encoder) throws {
        switch self {
        case .step(let metrics): try metrics.encode(to: encoder)
        case .validation(let step, let result):
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(step, forKey: .step)
            try container.encode(result, forKey: .validation)
        }
    }

    var data: Data { get throws { try JSONEncoder.metrics.encode(self) + Data("\n".utf8) } }

    /// The lines of a file that can be read; none where it is missing.
    static func read(_ file: URL) -> [MetricsLine] {
        guard let data = try? Data(contentsOf: file) else { return [] }
        return data.split(separator: UInt8(ascii: "\n")).compactMap { Self($0) }
    }

    /// Nil for what is no such line.
    init?(_ line: Data) {
        guard let line = try? JSONDecoder.metrics.decode(Self.self, from: line) else { return nil }
        self = line
    }
}

extension JSONEncoder {
    /// Keys as in the project's other JSON for scripts; infinities and NaN as strings.
    fileprivate static var metrics: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return encoder
    }
}

extension JSONDecoder {
    fileprivate static var metrics: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return decoder
    }
}
