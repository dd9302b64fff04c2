import ArgumentParser
import Foundation
import OneBitTraining
import Torch

/// Who shares the work of a training.
struct DistributedOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Processes on this machine that share the work.",
            discussion: "Several machines: start the command with torchrun --no-python or srun instead.", valueName: "n"
        ))
    var processes: Int?

    @Option(
        help: ArgumentHelp(
            "Where processes meet that a launcher has started, in place of the address in the environment.",
            valueName: "tcp://host:port | file:///path"))
    var rendezvous: String?

    @Option(help: ArgumentHelp("Longest time that processes wait for each other, in seconds.", valueName: "s"))
    var processTimeout = 600

    func validate() throws {
        if let processes, !(1...1024).contains(processes) {
            throw ValidationError("--processes must lie between 1 and 1024, not \(processes).")
        }
        if processTimeout < 1 { throw ValidationError("--process-timeout must be 1 or more.") }
    }

    /// Runs `body` on each of the processes: the one that a launcher has started here, or those that are started now.
    ///
    /// - Parameter body: Takes the group, and the threads of each process of this machine where none are given.
    func run(_ body: (_ group: ProcessGroup, _ threads: Int?) throws -> Void) throws {
        let limit = Duration.seconds(processTimeout)
        let launch = try Launch.found(
            in: ProcessInfo.processInfo.environment, processes: processes,
            rendezvous: rendezvous.map(Launch.Rendezvous.init))
        if let launch {
            try together(in: try launch.join(limit: limit)) { try body($0, Self.threads(among: launch.localSize)) }
        } else if let processes, processes > 1 {
            try runLocally(processes, limit: limit, body)
        } else {
            try body(.alone, nil)
        }
    }

    private static func threads(among processes: Int?) -> Int? {
        processes.map { max(1, ProcessInfo.processInfo.activeProcessorCount / $0) }
    }

    private func runLocally(
        _ count: Int, limit: Duration, _ body: (ProcessGroup, Int?) throws -> Void
    ) throws {
        let others = try LocalProcesses(
            size: count, executable: URL(filePath: "/proc/self/exe").resolvingSymlinksInPath(),
            arguments: Array(CommandLine.arguments.dropFirst())
        ) { rank, line in
            ProgressDisplay.endOpenLine()
            StandardStreams.writeError("[rank \(rank)] \(line)\n")
        }
        do {
            try together(in: try others.join(limit: limit)) { try body($0, Self.threads(among: count)) }
            others.finish(patience: .seconds(30))
        } catch {
            // A process that ended explains a connection that broke.
            if error is ProcessGroupError { usleep(500_000) }
            let failure = error is ProcessGroupError ? others.failure : nil
            others.finish(patience: .seconds(10))
            throw failure ?? error
        }
        if let failure = others.failure { throw failure }
    }

    /// Runs `body`; where it fails on one rank, the others learn of it and stop.
    private func together(in group: ProcessGroup, _ body: (ProcessGroup) throws -> Void) throws {
        defer { group.leave() }
        do {
            try body(group)
            // Nobody has done his part before all have.
            try group.barrier("done")
        } catch {
            group.fail(error)
            throw error
        }
    }
}

extension ProcessGroupError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .portInUse: "Choose another port with MASTER_PORT or --rendezvous, or end what uses it."
        case .ranksMissing, .unreachable:
            "Start all processes, with one address; --process-timeout says how long they wait for each other."
        case .peerLost, .timedOut, .peerFailed: "Go on from the last training checkpoint with --resume."
        case .rankTaken, .sizesDiffer, .failed: nil
        }
    }
}

extension LaunchError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .contradiction: "Give --processes what the launcher has started, or leave it out."
        case .processEnded: "Its last message is above. Go on from the last training checkpoint with --resume."
        case .missingVariable, .invalidVariable, .invalidRendezvous, .cannotStart: nil
        }
    }
}
