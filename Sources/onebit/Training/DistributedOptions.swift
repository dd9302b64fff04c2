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
    /// - Parameters:
    ///   - execution: How each of them computes; its group is replaced.
    ///   - isPlan: Whether nothing is run, so that nobody shares it.
    func run(_ execution: Execution, isPlan: Bool = false, _ body: (Execution) throws -> Void) throws {
        let limit = Duration.seconds(processTimeout)
        let launch =
            isPlan
            ? nil
            : try Launch.found(
                in: ProcessInfo.processInfo.environment, processes: processes,
                rendezvous: rendezvous.map(Launch.Rendezvous.init))
        if let launch {
            let group = try launch.join(device: execution.device, limit: limit)
            try together(shared(execution, by: group, onThisMachine: launch.localSize), body)
        } else if let processes, processes > 1, !isPlan {
            try runLocally(processes, execution, limit: limit, body)
        } else {
            try body(execution)
        }
    }

    /// Processes that a plan is made for.
    var plannedProcesses: Int { processes ?? 1 }

    /// A share of the machine's cores each, unless threads are given.
    private func shared(_ execution: Execution, by group: ProcessGroup, onThisMachine count: Int?) -> Execution {
        var execution = execution
        execution.group = group
        if let count, execution.threads == nil {
            execution.threads = max(1, ProcessInfo.processInfo.activeProcessorCount / count)
        }
        return execution
    }

    private func runLocally(
        _ count: Int, _ execution: Execution, limit: Duration, _ body: (Execution) throws -> Void
    ) throws {
        let others = try LocalProcesses(
            size: count, executable: URL(filePath: "/proc/self/exe").resolvingSymlinksInPath(),
            arguments: Array(CommandLine.arguments.dropFirst())
        ) { rank, line in
            ProgressDisplay.endOpenLine()
            StandardStreams.writeError("[rank \(rank)] \(line)\n")
        }
        do {
            let group = try others.join(device: execution.device, limit: limit)
            try together(shared(execution, by: group, onThisMachine: count), body)
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
    private func together(_ execution: Execution, _ body: (Execution) throws -> Void) throws {
        let group = execution.group
        defer { group.leave() }
        do {
            try body(execution)
            // Nobody has done his part before all have.
            try group.barrier("done", isPatient: true)
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
        case .nccl: "Install it with `make setup CUDA=1`, or give --device cpu."
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
