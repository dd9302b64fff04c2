import Foundation
import HubClient
import Synchronization

/// Shows on standard error what a download does.
final class DownloadProgress: Sendable {
    private struct State {
        var meter: ProgressMeter?
        var received = 0
        var unit = 1
    }

    private let repository: ModelRepository
    private let isQuiet: Bool
    private let state = Mutex(State())

    init(of repository: ModelRepository, isQuiet: Bool) {
        (self.repository, self.isQuiet) = (repository, isQuiet)
    }

    func show(_ event: HubEvent) {
        switch event {
        case .planned(let files, let bytes, let kept):
            guard !isQuiet else { return }
            let rest = kept > 0 ? ", \(Quantity.bytes(kept)) of them from an earlier run" : ""
            StandardStreams.writeError(
                "Downloading \(repository): \(files == 1 ? "1 file" : "\(files) files"), \(Quantity.bytes(bytes))\(rest)\n"
            )
            state.withLock { state in
                state.unit = bytes < 10_000_000 ? 1000 : 1_000_000
                state.received = kept
                state.meter = ProgressMeter(
                    "download", total: (bytes + state.unit - 1) / state.unit, done: kept / state.unit,
                    unit: state.unit == 1000 ? "kB" : "MB", display: .standardError)
            }
        case .received(let bytes):
            state.withLock { state in
                state.received += bytes
                state.meter?.update(done: (state.received + state.unit - 1) / state.unit)
            }
        case .waiting(let duration, let reason):
            guard !isQuiet else { return }
            ProgressDisplay.endOpenLine()
            StandardStreams.writeError(
                duration == .zero
                    ? "Waiting: \(reason)\n" : "\(reason); trying again in \(Quantity.duration(duration))\n")
        case .usingCache(let commit, let reason):
            StandardStreams.writeError("warning: \(reason) Using what the cache has, commit \(commit.prefix(12)).\n")
        }
    }

    func finish() { state.withLock { $0.meter?.finish() } }
}
