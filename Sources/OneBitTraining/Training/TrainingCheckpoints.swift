import Foundation
import ModelDescription
import TensorFiles
import Torch

/// Where a run keeps its checkpoints and how it goes on after a stop.
public struct CheckpointPolicy: Sendable {
    /// Directory of the run's training checkpoints.
    public var directory: URL
    /// Optimizer steps between two of them.
    public var interval: Int
    /// Whether to go on from the newest one; a directory that holds some is refused otherwise.
    public var resumes: Bool
    /// Whether to keep the checkpoint with the lowest perplexity on held-out text, and end with its model in place of the last
    /// step's.
    public var keepsBest: Bool
    /// Called with the number of steps made when a run that was cancelled, or failed, is about to save its state: gigabytes
    /// take seconds.
    public var onStop: @Sendable (_ steps: Int) -> Void

    public init(
        directory: URL, interval: Int, resumes: Bool, keepsBest: Bool = false,
        onStop: @escaping @Sendable (_ steps: Int) -> Void = { _ in }
    ) {
        self.directory = directory
        self.interval = interval
        self.resumes = resumes
        self.keepsBest = keepsBest
        self.onStop = onStop
    }
}

/// The training checkpoints of one run: everything that a killed run needs to go on as if nothing had happened.
///
/// Each is a directory `step-N` with the parameters, the optimizer's moments, the step and the run's identity; it gets its
/// name only when it is whole. The place in the data and all random choices follow from step and seed. Beside them,
/// `events.jsonl` grows by a line per step; a resumption cuts it back to the checkpoint's step.
final class TrainingCheckpoints {
    private let directory: URL
    private let identity: RunIdentity
    private var events: FileHandle?
    /// The newest ones are kept, in case the last turns out damaged.
    private let kept = 2

    private struct State: Codable {
        var identity: RunIdentity
        var step: Int
    }

    /// The checkpoint that is kept for its model, and its perplexity on held-out text.
    struct Best: Codable {
        var step: Int
        var perplexity: Double
    }

    private(set) var best: Best?

    init(directory: URL, identity: RunIdentity) {
        self.directory = directory
        self.identity = identity
    }

    deinit { try? events?.close() }

    private var eventFile: URL { directory.appending(path: "events.jsonl") }

    private var bestFile: URL { directory.appending(path: "best.json") }

    private func url(of step: Int) -> URL { directory.appending(path: "step-\(step)") }

    /// Numbers of the steps that were saved, oldest first.
    func savedSteps() throws -> [Int] {
        guard FileManager.default.fileExists(atPath: directory.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory.path)
            .compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }
            .sorted()
    }

    /// Starts a run, or finds where an earlier one stopped.
    ///
    /// - Returns: The events up to the newest checkpoint, whose values `optimizer` then has; none where nothing was saved.
    /// - Throws: ``TrainingError/workExists(directory:)`` where a run that is not to be resumed has saved something,
    ///   ``TrainingError/settingsChanged(directory:key:saved:given:)`` where it was started differently,
    ///   ``TrainingError/damagedTrainingCheckpoint(directory:reason:)``, and what reading throws.
    func begin(resumes: Bool, optimizer: ShardedOptimizer) throws -> [TrainingEvent] {
        var past: [TrainingEvent] = []
        if let newest = try savedSteps().last {
            guard resumes else { throw TrainingError.workExists(directory: directory) }
            let saved = url(of: newest)
            let state: State
            do {
                state = try JSONDecoder().decode(
                    State.self, from: Data(contentsOf: saved.appending(path: "state.json")))
            } catch {
                throw TrainingError.damagedTrainingCheckpoint(directory: saved, reason: "state.json: \(error)")
            }
            try identity.requireSame(as: state.identity, in: directory)
            past = try readEvents(upTo: state.step)
            try restore(optimizer, from: saved)
            if let data = try? Data(contentsOf: bestFile) { best = try JSONDecoder().decode(Best.self, from: data) }
        } else if FileManager.default.fileExists(atPath: bestFile.path) {
            try FileManager.default.removeItem(at: bestFile)
        }
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        var lines = Data()
        for event in past { lines += try line(of: event) }
        try writeAtomically(lines, to: eventFile)
        let handle = try FileHandle(forWritingTo: eventFile)
        try handle.seekToEnd()
        events = handle
        return past
    }

    /// Appends a step to the log.
    func append(_ event: TrainingEvent) throws { try events?.write(contentsOf: line(of: event)) }

    /// Saves the state after `step`, also where the task is cancelled: that is when it is needed.
    func save(step: Int, optimizer: ShardedOptimizer) throws {
        try outsideOfTask { try self.write(step: step, optimizer: optimizer) }
    }

    /// Keeps the checkpoint of `step`, which has been saved, until there is a better one.
    func keep(_ best: Best) throws {
        try writeAtomically(try JSONEncoder.sorted.encode(best), to: bestFile)
        self.best = best
        try removeOld()
    }

    /// Gives the optimizer the state that did best.
    func restoreBest(_ optimizer: ShardedOptimizer) throws {
        if let best { try restore(optimizer, from: url(of: best.step)) }
    }

    private func removeOld() throws {
        for old in try savedSteps().dropLast(kept) where old != best?.step {
            try FileManager.default.removeItem(at: url(of: old))
        }
    }

    private func write(step: Int, optimizer: ShardedOptimizer) throws {
        try events?.synchronize()
        try StagedDirectory.write(to: url(of: step), overwrite: true) { directory in
            try write(
                optimizer.parameters.indices.map { (optimizer.parameters[$0].name, optimizer.states[$0].value.tensor) },
                to: directory.appending(path: "model"))
            try write(moments(of: optimizer), to: directory.appending(path: "optimizer"))
            try writeAtomically(
                try JSONEncoder.sorted.encode(State(identity: identity, step: step)),
                to: directory.appending(path: "state.json"))
        }
        try removeOld()
    }

    // MARK: Events

    private func line(of event: TrainingEvent) throws -> Data { try JSONEncoder.sorted.encode(event) + Data("\n".utf8) }

    private func readEvents(upTo step: Int) throws -> [TrainingEvent] {
        do {
            let lines = try Data(contentsOf: eventFile).split(separator: UInt8(ascii: "\n")).prefix(step)
            let events = try lines.map { try JSONDecoder().decode(TrainingEvent.self, from: $0) }
            guard events.map(\.step) == Array(1..<step + 1) else {
                throw TrainingError.damagedTrainingCheckpoint(
                    directory: directory, reason: "events.jsonl does not hold steps 1 to \(step)")
            }
            return events
        } catch let error where !(error is TrainingError) {
            throw TrainingError.damagedTrainingCheckpoint(directory: directory, reason: "events.jsonl: \(error)")
        }
    }

    // MARK: Tensors

    private func moments(of optimizer: ShardedOptimizer) -> [(String, Tensor)] {
        optimizer.parameters.indices.flatMap { index in
            let name = optimizer.parameters[index].name
            return [
                ("\(name).first_moment", optimizer.states[index].firstMoment.tensor),
                ("\(name).second_moment", optimizer.states[index].secondMoment.tensor),
            ]
        }
    }

    private func write(_ tensors: [(String, Tensor)], to directory: URL) throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let writer = try CheckpointWriter(
            directory: directory,
            tensors: tensors.map { TensorDescription(name: $0.0, elementType: .float32, shape: $0.1.shape) },
            metadata: [:],
            shardByteLimit: .max
        )
        for (name, tensor) in tensors { try writer.write(name, floats: try tensor.floats()) }
        try writer.finish()
    }

    private func restore(_ optimizer: ShardedOptimizer, from saved: URL) throws {
        let (values, moments) = (saved.appending(path: "model"), saved.appending(path: "optimizer"))
        let (valueFile, momentFile) = (try open(values), try open(moments))
        for (index, parameter) in optimizer.parameters.enumerated() {
            try checkCancellation()
            func read(_ name: String, _ file: SafetensorsFile, _ directory: URL) throws -> Tensor {
                let shape = parameter.shape
                guard let found = file.tensors[name], found.shape == shape, found.elementType == .float32 else {
                    throw TrainingError.damagedTrainingCheckpoint(
                        directory: directory, reason: "no float32 tensor \(name) of shape \(shape)")
                }
                return try file.withUnsafeBytes(of: name) { try .elements($0, shape: shape, dtype: .float32) }
            }
            try optimizer.restore(
                index, value: try read(parameter.name, valueFile, values),
                firstMoment: try read("\(parameter.name).first_moment", momentFile, moments),
                secondMoment: try read("\(parameter.name).second_moment", momentFile, moments))
        }
    }

    private func open(_ directory: URL) throws -> SafetensorsFile {
        try SafetensorsFile(contentsOf: directory.appending(path: "model.safetensors"))
    }
}

/// Runs `body` on a thread that belongs to no task, so that writing does not see the cancellation of the current one.
private func outsideOfTask(_ body: @escaping () throws -> Void) throws {
    // Proof: this thread waits until the other is done, and the semaphore orders their accesses.
    nonisolated(unsafe) let body = body
    nonisolated(unsafe) var result = Result<Void, any Error>.success(())
    let done = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
        result = Result { try body() }
        done.signal()
    }
    done.wait()
    try result.get()
}
