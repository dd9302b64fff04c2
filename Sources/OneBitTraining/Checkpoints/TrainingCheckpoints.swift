import Foundation
import ModelDescription
import ResumableRuns
import TensorFiles
import Torch

/// Where a run keeps its checkpoints and how it goes on after a stop.
public struct CheckpointPolicy: Sendable {
    /// Directory of the run's training checkpoints; the ranks of a process group share it.
    public var directory: URL
    /// Optimizer steps between two of them.
    public var interval: Int
    /// Time between two of them, where the steps take longer.
    public var longestInterval: Duration
    /// Whether to go on from the newest one; a directory that holds some is refused otherwise.
    public var resumes: Bool
    /// Whether to keep the checkpoint with the lowest perplexity on held-out text, and end with its model in place of the last
    /// step's.
    public var keepsBest: Bool
    /// Called with the number of steps made when a run that was cancelled, or failed, is about to save its state: gigabytes
    /// take seconds.
    public var onStop: @Sendable (_ steps: Int) -> Void

    public init(
        directory: URL, interval: Int, longestInterval: Duration = .seconds(900), resumes: Bool,
        keepsBest: Bool = false,
        onStop: @escaping @Sendable (_ steps: Int) -> Void = { _ in }
    ) {
        self.directory = directory
        self.interval = interval
        self.longestInterval = longestInterval
        self.resumes = resumes
        self.keepsBest = keepsBest
        self.onStop = onStop
    }

    /// What a run checks before it plans: that it does not write over another one's work.
    ///
    /// - Throws: `RunError.workExists` where a run that is not to be resumed has saved something.
    public func requireFreshUnlessResumed() throws {
        if !resumes, try !TrainingCheckpoints.savedSteps(in: directory).isEmpty {
            throw RunError.workExists(directory: directory)
        }
    }
}

/// The training checkpoints of one run: everything that a killed run needs to go on as if nothing had happened.
///
/// Each is a directory `step-N` with a file of each rank, which holds its rows of values and moments in their storage forms,
/// and `state.json` with the step, the number of files and the run's identity. The directory gets its name only when all
/// ranks have written. The place in the data and all random choices follow from step and seed. Beside them,
/// `events.jsonl` grows by a line per step; a resumption cuts it back to the checkpoint's step.
///
/// A run may be resumed by any number of ranks: each reads its rows from the files that have them.
final class TrainingCheckpoints {
    private let directory: URL
    private let identity: RunIdentity
    private let group: ProcessGroup
    private var events: FileHandle?
    /// The save that is under way.
    private var writing: BackgroundWork?
    /// The newest ones are kept, in case the last turns out damaged.
    private static let kept = 2

    private struct State: Codable {
        var identity: RunIdentity
        var step: Int
        var files: Int
    }

    /// The checkpoint that is kept for its model, and its perplexity on held-out text.
    struct Best: Codable {
        var step: Int
        var perplexity: Double
    }

    private(set) var best: Best?

    init(directory: URL, identity: RunIdentity, group: ProcessGroup = .alone) {
        self.directory = directory
        self.identity = identity
        self.group = group
    }

    deinit { try? events?.close() }

    private var eventFile: URL { directory.appending(path: "events.jsonl") }

    private var bestFile: URL { directory.appending(path: "best.json") }

    private func url(of step: Int) -> URL { directory.appending(path: "step-\(step)") }

    /// Numbers of the steps that were saved, oldest first.
    func savedSteps() throws -> [Int] { try Self.savedSteps(in: directory) }

    fileprivate static func savedSteps(in directory: URL) throws -> [Int] {
        guard FileManager.default.fileExists(atPath: directory.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory.path)
            .compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }
            .sorted()
    }

    /// Starts a run, or finds where an earlier one stopped.
    ///
    /// - Returns: The events up to the newest checkpoint, whose values `optimizer` then has; none where nothing was saved.
    /// - Throws: `RunError.workExists` where a run that is not to be resumed has saved something,
    ///   `RunError.settingsChanged` where it was started differently,
    ///   `RunError.damagedState`,
    ///   ``TrainingError/directoryNotShared(directory:)``, and what reading throws.
    func begin(resumes: Bool, optimizer: ShardedOptimizer) throws -> [TrainingEvent] {
        var past: [TrainingEvent] = []
        let newest = try savedSteps().last
        let seen = try group.allGather([Double(newest ?? 0)])
        guard seen.allSatisfy({ $0 == seen[0] }) else { throw TrainingError.directoryNotShared(directory: directory) }
        if let newest {
            guard resumes else { throw RunError.workExists(directory: directory) }
            let state = try readState(of: newest)
            try identity.requireSame(as: state.identity, in: directory)
            past = try readEvents(upTo: state.step)
            try restore(optimizer, from: url(of: newest), files: state.files)
            if let data = try? Data(contentsOf: bestFile) { best = try JSONDecoder().decode(Best.self, from: data) }
        } else if group.rank == 0, FileManager.default.fileExists(atPath: bestFile.path) {
            try FileManager.default.removeItem(at: bestFile)
        }
        // The first rank cuts the log off that the others have read.
        _ = try group.allGather([0])
        guard group.rank == 0 else { return past }
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        var lines = Data()
        for event in past { lines += try line(of: event) }
        try writeAtomically(lines, to: eventFile)
        let handle = try FileHandle(forWritingTo: eventFile)
        try handle.seekToEnd()
        events = handle
        return past
    }

    private func readState(of step: Int) throws -> State {
        let saved = url(of: step)
        do {
            return try JSONDecoder().decode(State.self, from: Data(contentsOf: saved.appending(path: "state.json")))
        } catch {
            throw RunError.damagedState(directory: saved, reason: "state.json: \(error)")
        }
    }

    /// Appends a step to the log.
    func append(_ event: TrainingEvent) throws { try events?.write(contentsOf: line(of: event)) }

    // MARK: Saving

    /// Starts to save the state after `step`, also where the task is cancelled: that is when it is needed.
    ///
    /// The state is written while the next step's gradients are computed, and not copied: before the optimizer moves,
    /// ``finishReading()`` waits until it is read. A save that is still under way is waited for first.
    ///
    /// - Throws: What the save before threw.
    func save(step: Int, optimizer: ShardedOptimizer) throws {
        try finishSaving()
        let file = ShardFile(
            rank: group.rank, of: group.size, parameters: optimizer.parameters, state: try optimizer.state())
        let state = try JSONEncoder.sorted.encode(State(identity: identity, step: step, files: group.size))
        let (destination, directory, group, best) = (url(of: step), directory, group, best?.step)
        try events?.synchronize()
        writing = BackgroundWork { didRead in
            try Self.write(file, state: state, to: destination, group, didRead: didRead)
            guard group.rank == 0 else { return }
            try Self.removeOld(in: directory, besides: best)
        }
    }

    /// Keeps the checkpoint of `step`, whose save was started, until there is a better one.
    func keep(_ best: Best) throws {
        try finishSaving()
        self.best = best
        guard group.rank == 0 else { return }
        try writeAtomically(try JSONEncoder.sorted.encode(best), to: bestFile)
        try Self.removeOld(in: directory, besides: best.step)
    }

    /// Gives the optimizer the state that did best.
    func restoreBest(_ optimizer: ShardedOptimizer) throws {
        guard let best else { return }
        try finishSaving()
        try restore(optimizer, from: url(of: best.step), files: readState(of: best.step).files)
    }

    private func restore(_ optimizer: ShardedOptimizer, from saved: URL, files count: Int) throws {
        let files = try ShardFiles(in: saved, count: count)
        try optimizer.restore { try files.rows($0, of: optimizer.parameters[$0.parameter]) }
    }

    /// Removes all but the newest checkpoints and the best one.
    private static func removeOld(in directory: URL, besides best: Int?) throws {
        for old in try savedSteps(in: directory).dropLast(kept) where old != best {
            try FileManager.default.removeItem(at: directory.appending(path: "step-\(old)"))
        }
    }

    /// Waits until the save that is under way has read the state.
    func finishReading() { writing?.waitUntilRead() }

    /// Throws what a save that has ended threw; does not wait.
    func checkSaving() throws { if let writing, writing.isFinished { try finishSaving() } }

    /// Waits for the save that is under way.
    func finishSaving() throws {
        guard let writing else { return }
        self.writing = nil
        try writing.wait()
    }

    /// The first rank makes the directory, all write into it, and the first gives it its name.
    private static func write(
        _ file: ShardFile, state: Data, to destination: URL, _ group: ProcessGroup, didRead: () -> Void
    ) throws {
        let name = "checkpoint/\(destination.lastPathComponent)"
        do {
            guard group.rank == 0 else {
                let staged = destination.deletingLastPathComponent()
                    .appending(path: try group.receive("\(name)/directory"))
                try file.write(to: staged, didRead: didRead)
                return try group.barrier(name)
            }
            try StagedDirectory.write(to: destination, overwrite: true) { staged in
                try group.send(staged.lastPathComponent, as: "\(name)/directory")
                try file.write(to: staged, didRead: didRead)
                try writeAtomically(state, to: staged.appending(path: "state.json"))
                try group.barrier(name)
            }
        } catch {
            _ = try? group.requestStop(
                .init(rank: group.rank, step: 0, reason: error.localizedDescription, savesState: false))
            throw error
        }
    }

    // MARK: Events

    private func line(of event: TrainingEvent) throws -> Data { try JSONEncoder.sorted.encode(event) + Data("\n".utf8) }

    private func readEvents(upTo step: Int) throws -> [TrainingEvent] {
        do {
            let lines = try Data(contentsOf: eventFile).split(separator: UInt8(ascii: "\n")).prefix(step)
            let events = try lines.map { try JSONDecoder().decode(TrainingEvent.self, from: $0) }
            guard events.map(\.step) == Array(1..<step + 1) else {
                throw RunError.damagedState(
                    directory: directory, reason: "events.jsonl does not hold steps 1 to \(step)")
            }
            return events
        } catch let error where !(error is TrainingError) {
            throw RunError.damagedState(directory: directory, reason: "events.jsonl: \(error)")
        }
    }
}

/// Work on a thread that belongs to no task, so that it does not see the cancellation of the current one.
private final class BackgroundWork: @unchecked Sendable {
    // Proof of Sendable: the result is written before the semaphore is signalled and read after it was waited for.
    private var result = Result<Void, any Error>.success(())
    private let read = DispatchSemaphore(value: 0)
    private let done = DispatchSemaphore(value: 0)

    /// - Parameter body: Takes what to call once it has read what others want to change.
    init(_ body: @escaping @Sendable (_ didRead: () -> Void) throws -> Void) {
        Thread.detachNewThread {
            self.result = Result { try body { self.read.signal() } }
            // Also where it failed before.
            self.read.signal()
            self.done.signal()
        }
    }

    func waitUntilRead() {
        read.wait()
        read.signal()
    }

    var isFinished: Bool {
        guard done.wait(timeout: .now()) == .success else { return false }
        done.signal()
        return true
    }

    func wait() throws {
        done.wait()
        done.signal()
        try result.get()
    }
}
