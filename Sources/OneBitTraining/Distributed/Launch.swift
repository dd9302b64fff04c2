import Foundation
import Torch

/// Which of how many processes this one is, and where they meet: what a launcher says in the environment.
public struct Launch: Sendable, Hashable {
    /// Where the ranks of a group find each other.
    public enum Rendezvous: Sendable, Hashable {
        /// A store over TCP; rank 0 opens it, unless the launcher has.
        case tcp(host: String, port: Int)
        /// A file that all processes see.
        case file(path: String)

        /// - Parameter text: `tcp://host:port` or `file:///path`.
        /// - Throws: ``LaunchError/invalidRendezvous(_:)``.
        public init(_ text: String) throws {
            guard let components = URLComponents(string: text) else { throw LaunchError.invalidRendezvous(text) }
            switch components.scheme {
            case "tcp":
                guard let host = components.host, !host.isEmpty, let port = components.port, 1...65535 ~= port else {
                    throw LaunchError.invalidRendezvous(text)
                }
                self = .tcp(host: host.trimmingCharacters(in: ["[", "]"]), port: port)
            case "file":
                guard components.host ?? "" == "", components.path.hasPrefix("/") else {
                    throw LaunchError.invalidRendezvous(text)
                }
                self = .file(path: components.path)
            default: throw LaunchError.invalidRendezvous(text)
            }
        }
    }

    public var rank: Int
    public var size: Int
    /// Number of this process among those of its machine.
    public var localRank: Int
    /// Processes on this machine; nil where the launcher does not say.
    public var localSize: Int?
    public var rendezvous: Rendezvous
    /// Whether the launcher serves the store over TCP, as torchrun's agent does.
    public var launcherServes: Bool
    /// How often the launcher has started the run again: what an earlier attempt left in the store is not this one's.
    public var restarts: Int

    /// What the environment says: torchrun's variables, or Slurm's, or nothing.
    ///
    /// - Parameters:
    ///   - environment: Of the process.
    ///   - processes: Processes that the user asked for, which must not contradict the environment; nil for any number.
    ///   - rendezvous: In place of the address in the environment.
    /// - Returns: Nil where no launcher has started this process as one of several.
    /// - Throws: ``LaunchError``.
    public static func found(
        in environment: [String: String], processes: Int? = nil, rendezvous: Rendezvous? = nil
    ) throws -> Launch? {
        let variables = Variables(environment)
        if environment["RANK"] != nil || environment["WORLD_SIZE"] != nil {
            try variables.require("WORLD_SIZE", processes)
            return try torchrun(variables, rendezvous: rendezvous)
        } else if let tasks = environment["SLURM_NTASKS"], environment["SLURM_PROCID"] != nil, tasks != "1",
            // A batch script is no task of a step: Slurm describes its job to it, and `srun` starts the tasks.
            environment["SLURM_JOB_ID"] == nil || environment["SLURM_STEP_ID"] != nil
        {
            try variables.require("SLURM_NTASKS", processes)
            return try slurm(variables, rendezvous: rendezvous)
        }
        return nil
    }

    private static func torchrun(_ variables: Variables, rendezvous: Rendezvous?) throws -> Launch {
        let size = try variables.number("WORLD_SIZE", in: 1...99_999)
        let rank = try variables.number("RANK", in: 0...size - 1)
        let localRank = try variables.number("LOCAL_RANK", in: 0...size - 1, unless: rank)
        var localSize: Int?
        if variables.has("LOCAL_WORLD_SIZE") { localSize = try variables.number("LOCAL_WORLD_SIZE", in: 1...size) }
        let place: Rendezvous
        if let rendezvous {
            place = rendezvous
        } else {
            let host = try variables.required("MASTER_ADDR")
            place = .tcp(host: host, port: try variables.number("MASTER_PORT", in: 1...65535))
        }
        return Launch(
            rank: rank, size: size, localRank: localRank, localSize: localSize, rendezvous: place,
            launcherServes: rendezvous == nil && variables.text("TORCHELASTIC_USE_AGENT_STORE") == "True",
            restarts: try variables.number("TORCHELASTIC_RESTART_COUNT", in: 0...Int.max, unless: 0))
    }

    private static func slurm(_ variables: Variables, rendezvous: Rendezvous?) throws -> Launch {
        let size = try variables.number("SLURM_NTASKS", in: 1...99_999)
        let rank = try variables.number("SLURM_PROCID", in: 0...size - 1)
        let localRank = try variables.number("SLURM_LOCALID", in: 0...size - 1, unless: rank)
        let place: Rendezvous
        if let rendezvous {
            place = rendezvous
        } else {
            let hosts = try variables.required("SLURM_JOB_NODELIST")
            let host = try firstHost(of: hosts)
            // Jobs that share a machine get ports of their own.
            let job = try variables.number("SLURM_JOB_ID", in: 0...Int.max, unless: 0)
            let port = try variables.number("MASTER_PORT", in: 1...65535, unless: 20_000 + job % 20_000)
            place = .tcp(host: variables.text("MASTER_ADDR") ?? host, port: port)
        }
        return Launch(
            rank: rank, size: size, localRank: localRank, localSize: nil, rendezvous: place, launcherServes: false,
            restarts: try variables.number("SLURM_RESTART_COUNT", in: 0...Int.max, unless: 0))
    }

    /// The first host of Slurm's list: `node[007-012,20],other` is node007 to node012 and so on.
    ///
    /// - Throws: ``LaunchError/invalidVariable(name:value:expected:)``.
    static func firstHost(of list: String) throws -> String {
        func refused() -> LaunchError {
            .invalidVariable(name: "SLURM_JOB_NODELIST", value: list, expected: "a list of hosts")
        }
        // Each range of numbers becomes its first number, until a comma outside of brackets ends the host.
        var host = ""
        var rest = Substring(list)
        while let next = rest.first, next != "," {
            guard next == "[" else {
                host.append(rest.removeFirst())
                continue
            }
            let number = rest.dropFirst().prefix { $0.isASCII && $0.isNumber }
            guard !number.isEmpty, let end = rest.firstIndex(of: "]") else { throw refused() }
            host += number
            rest = rest[rest.index(after: end)...]
        }
        guard !host.isEmpty else { throw refused() }
        return host
    }

    /// Meets the other processes.
    ///
    /// - Parameters:
    ///   - device: Where passes compute.
    ///   - limit: Longest time of the meeting, and of each collective.
    /// - Throws: `ProcessGroupError`, `CancellationError`.
    public func join(device: Device = .cpu, limit: Duration) throws -> ProcessGroup {
        guard size > 1 else { return .alone }
        var host: String?
        let store: KeyValueStore
        switch rendezvous {
        case .tcp(let address, let port):
            if ["127.0.0.1", "localhost", "::1"].contains(address) { host = "127.0.0.1" }
            store =
                rank == 0 && !launcherServes
                ? try .serving(host: address, port: port) : try .connecting(host: address, port: port, limit: limit)
        case .file(let path): store = try .file(URL(filePath: path), size: size)
        }
        if localSize == size { host = "127.0.0.1" }
        return try ProcessGroup(
            store: store, rank: rank, size: size, prefix: "\(restarts)", host: host, device: device,
            limit: limit)
    }

    /// Numbers and texts of the environment.
    private struct Variables {
        let environment: [String: String]

        init(_ environment: [String: String]) { self.environment = environment }

        func has(_ name: String) -> Bool { environment[name] != nil }

        func text(_ name: String) -> String? { environment[name] }

        /// Checks that a number of processes is what the user asked for, if anything.
        ///
        /// - Throws: ``LaunchError/contradiction(variable:value:processes:)``, ``LaunchError/invalidVariable(name:value:expected:)``.
        func require(_ name: String, _ processes: Int?) throws {
            guard let processes else { return }
            let size = try number(name, in: 1...99_999)
            if size != processes { throw LaunchError.contradiction(variable: name, value: size, processes: processes) }
        }

        func required(_ name: String) throws -> String {
            guard let value = environment[name], !value.isEmpty else { throw LaunchError.missingVariable(name) }
            return value
        }

        func number(_ name: String, in range: ClosedRange<Int>, unless fallback: Int? = nil) throws -> Int {
            if let fallback, environment[name] == nil { return fallback }
            let value = try required(name)
            guard let number = Int(value), range.contains(number) else {
                let expected =
                    range.upperBound == .max
                    ? "a number of \(range.lowerBound) or more"
                    : "a number from \(range.lowerBound) to \(range.upperBound)"
                throw LaunchError.invalidVariable(name: name, value: value, expected: expected)
            }
            return number
        }
    }
}

/// Why several processes cannot be started, or one cannot tell which it is.
public enum LaunchError: LocalizedError, Sendable, Hashable {
    case missingVariable(String)
    case invalidVariable(name: String, value: String, expected: String)
    case contradiction(variable: String, value: Int, processes: Int)
    case invalidRendezvous(String)
    /// A process that this one had started ended before its work was done.
    case processEnded(rank: Int, how: String)
    case cannotStart(rank: Int, reason: String)

    public var errorDescription: String? {
        switch self {
        case .missingVariable(let name):
            "The environment has some of a launcher's variables, and not \(name)."
        case .invalidVariable(let name, let value, let expected):
            "The environment's \(name) is \"\(value)\", expected \(expected)."
        case .contradiction(let variable, let value, let processes):
            "\(processes) processes were asked for, and the environment's \(variable) is \(value)."
        case .invalidRendezvous(let text):
            "\"\(text)\" is no rendezvous address: expected tcp://HOST:PORT or file:///PATH."
        case .processEnded(let rank, let how):
            "Rank \(rank) \(how)."
        case .cannotStart(let rank, let reason):
            "Rank \(rank) could not be started: \(reason)."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .missingVariable, .invalidVariable:
            "Start with torchrun or srun, set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or unset all of them."
        case .contradiction: "Ask for as many as the launcher has started, or for none."
        case .processEnded: "Look for its message above; the last training checkpoint can be resumed."
        case .invalidRendezvous, .cannotStart: nil
        }
    }
}
