import Foundation
import Torch

/// Ranks 1 … n − 1 on this machine: the same command again, with a launcher's variables in the environment. The process that
/// starts them is rank 0.
///
/// Not `Sendable`: one thread starts, asks and ends them.
public final class LocalProcesses {
    /// Rank 0's part.
    public let launch: Launch
    private let store: KeyValueStore
    private var children: [(rank: Int, process: Process, reader: Thread)] = []

    /// Starts the others.
    ///
    /// - Parameters:
    ///   - size: Processes in all.
    ///   - executable: What they run.
    ///   - arguments: With which arguments.
    ///   - report: Receives each line that another rank writes to its standard error; called from several threads.
    /// - Throws: ``LaunchError/cannotStart(rank:reason:)``, `ProcessGroupError`.
    public init(
        size: Int, executable: URL, arguments: [String],
        report: @escaping @Sendable (_ rank: Int, _ line: String) -> Void
    ) throws {
        let host = "127.0.0.1"
        store = try .serving(host: host, port: 0)
        launch = Launch(
            rank: 0, size: size, localRank: 0, localSize: size, rendezvous: .tcp(host: host, port: store.port),
            launcherServes: false, restarts: 0)
        for rank in 1..<size {
            let process = Process()
            process.executableURL = executable
            process.arguments = arguments
            process.environment = ProcessInfo.processInfo.environment.merging(
                [
                    "RANK": "\(rank)", "LOCAL_RANK": "\(rank)", "WORLD_SIZE": "\(size)", "LOCAL_WORLD_SIZE": "\(size)",
                    "MASTER_ADDR": host, "MASTER_PORT": "\(store.port)",
                ], uniquingKeysWith: { $1 })
            process.standardInput = FileHandle.nullDevice
            let errors = Pipe()
            process.standardError = errors
            do {
                try process.run()
            } catch {
                end()
                throw LaunchError.cannotStart(rank: rank, reason: error.localizedDescription)
            }
            let reader = Thread { Self.forward(errors.fileHandleForReading) { report(rank, $0) } }
            reader.start()
            children.append((rank, process, reader))
        }
    }

    /// Meets them.
    ///
    /// - Throws: ``LaunchError/processEnded(rank:how:)``, `ProcessGroupError`, `CancellationError`.
    public func join(device: Device = .cpu, limit: Duration) throws -> ProcessGroup {
        try ProcessGroup(
            store: store, rank: 0, size: launch.size, prefix: "0", host: "127.0.0.1", device: device,
            limit: limit
        ) { if let failure { throw failure } }
    }

    private static func forward(_ file: FileHandle, _ report: (String) -> Void) {
        var rest = Data()
        while let data = try? file.read(upToCount: 4096), !data.isEmpty {
            rest += data
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                report(String(decoding: rest[rest.startIndex..<end], as: UTF8.self))
                rest = rest[rest.index(after: end)...]
            }
        }
        if !rest.isEmpty { report(String(decoding: rest, as: UTF8.self)) }
    }

    /// A process that has ended otherwise than well; nil where there is none.
    public var failure: LaunchError? {
        // A process that was killed is why the others ended.
        let ended = children.filter { !$0.process.isRunning }
        if let killed = ended.first(where: { $0.process.terminationReason == .uncaughtSignal }) {
            return .processEnded(rank: killed.rank, how: "was ended by signal \(killed.process.terminationStatus)")
        }
        guard let failed = ended.first(where: { $0.process.terminationStatus != 0 }) else { return nil }
        return .processEnded(rank: failed.rank, how: "ended with code \(failed.process.terminationStatus)")
    }

    /// Waits for the others to end; ends those that have not after `patience`.
    public func finish(patience: Duration) {
        let deadline = ContinuousClock.now + patience
        while ContinuousClock.now < deadline, children.contains(where: \.process.isRunning) { usleep(20_000) }
        end()
        // What they said last.
        let last = ContinuousClock.now + .seconds(2)
        while ContinuousClock.now < last, children.contains(where: { !$0.reader.isFinished }) { usleep(5_000) }
    }

    private func end() {
        for signal in [SIGTERM, SIGKILL] {
            let running = children.map(\.process).filter(\.isRunning)
            if running.isEmpty { return }
            for process in running { kill(process.processIdentifier, signal) }
            let deadline = ContinuousClock.now + .seconds(5)
            while ContinuousClock.now < deadline, running.contains(where: \.isRunning) { usleep(20_000) }
        }
    }
}
