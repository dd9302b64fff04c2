import CLibTorch
import Foundation

/// What went wrong between the ranks of a group.
public enum ProcessGroupError: LocalizedError, Sendable, Hashable {
    /// Another program, or another run, listens there.
    case portInUse(host: String, port: Int)
    /// Nobody serves the store.
    case unreachable(address: String, seconds: Int)
    /// Ranks that did not come.
    case ranksMissing([Int], size: Int, address: String, seconds: Int)
    /// Two processes have one rank, or the store is one of an earlier run.
    case rankTaken(rank: Int, address: String)
    /// Two ranks were started for groups of different sizes.
    case sizesDiffer(rank: Int, size: Int, other: Int, otherSize: Int)
    /// A rank ended, or the network failed.
    case peerLost(operation: String, reason: String)
    /// A rank did not come to a collective.
    case timedOut(operation: String, seconds: Int, reason: String?)
    /// Another rank failed and said why.
    case peerFailed(rank: Int, reason: String)
    case failed(operation: String, reason: String)
    /// There are no collectives for CUDA devices.
    case nccl(reason: String)

    /// The calling thread's last failure.
    static func last(in operation: String, limit: Duration? = nil) -> ProcessGroupError {
        let reason = String(cString: lt_last_error()).split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        switch lt_last_group_failure() {
        case LT_GROUP_TIMED_OUT:
            return .timedOut(operation: operation, seconds: limit?.wholeSeconds ?? 0, reason: reason)
        case LT_GROUP_PEER_LOST: return .peerLost(operation: operation, reason: reason)
        default: return .failed(operation: operation, reason: reason)
        }
    }

    public var errorDescription: String? {
        switch self {
        case .portInUse(let host, let port):
            "tcp://\(host):\(port): the port is in use."
        case .unreachable(let address, let seconds):
            "\(address): nothing answered within \(seconds) s, where rank 0 should."
        case .ranksMissing(let ranks, let size, let address, let seconds):
            "\(address): of \(size) ranks, "
                + (ranks.count == 1
                    ? "rank \(ranks[0])" : "ranks \(ranks.map(String.init).joined(separator: ", "))")
                + " did not come within \(seconds) s."
        case .rankTaken(let rank, let address):
            "\(address): rank \(rank) is there already."
        case .sizesDiffer(let rank, let size, let other, let otherSize):
            "Rank \(rank) was started for a group of \(size), rank \(other) for a group of \(otherSize)."
        case .peerLost(let operation, let reason):
            "Another rank ended or cannot be reached (\(operation): \(reason))."
        case .timedOut(let operation, let seconds, let reason):
            "Another rank did not answer within \(seconds) s (\(operation)\(reason.map { ": \($0)" } ?? ""))."
        case .peerFailed(let rank, let reason):
            "Rank \(rank) stopped: \(reason)"
        case .failed(let operation, let reason):
            "\(operation): \(reason)"
        case .nccl(let reason):
            "Several processes cannot compute on CUDA devices together: \(reason)."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .portInUse: "Choose another port, or end what uses it."
        case .unreachable: "Start rank 0, and check host, port and firewall."
        case .ranksMissing:
            "Start all ranks with the same address, and look for the messages of those that did not come."
        case .rankTaken: "Give every process its own rank; delete the file where an earlier run has left it."
        case .sizesDiffer: "Start all ranks with the same number of processes."
        case .peerLost, .timedOut, .peerFailed: nil
        case .failed: nil
        case .nccl: "Install libtorch with CUDA again, libonebit_nccl.so included, beside libtorch's other libraries."
        }
    }
}
