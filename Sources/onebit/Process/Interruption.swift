import Foundation
import Synchronization

/// Ctrl-C (SIGINT) and `kill` (SIGTERM) cancel the command's task; a second signal of the same kind kills at once.
///
/// Work stops by Swift's task cancellation alone: it calls `Task.checkCancellation()` between steps, keeps what is done,
/// removes what is unfinished and throws `CancellationError`. ``ErrorReport`` then exits with 128 plus the signal's number,
/// 130 for Ctrl-C. A chat goes on after a Ctrl-C that ended an answer: see ``interruptible(_:)``.
enum Interruption {
    /// The signal that cancelled the command, 0 as long as none has.
    private static let signalNumber = Atomic<Int32>(0)

    /// What signals cancel.
    private struct Targets {
        var command: (@Sendable () -> Void)?
        /// What the next Ctrl-C cancels in place of the command.
        var part: (@Sendable () -> Void)?
    }

    private static let targets = Mutex(Targets())

    /// Runs a command in a task that the first SIGINT or SIGTERM cancels. Once per process.
    static func run(_ command: @escaping @Sendable () async throws -> Void) async throws {
        try catchSignals()
        let task = Task(operation: command)
        targets.withLock { $0.command = { task.cancel() } }
        // A signal that came before there was anything to cancel.
        if signalNumber.load(ordering: .relaxed) != 0 { task.cancel() }
        try await task.value
    }

    /// Runs a part of the command in a task of its own, which the next Ctrl-C cancels in place of the command.
    static func interruptible<Result: Sendable>(
        _ part: @escaping @Sendable () async throws -> Result
    ) async throws -> Result {
        let task = Task(operation: part)
        targets.withLock { $0.part = { task.cancel() } }
        defer { targets.withLock { $0.part = nil } }
        return try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }

    /// What shells report for a process that the signal killed.
    static var exitCode: Int32 {
        let signal = signalNumber.load(ordering: .relaxed)
        return 128 + (signal == 0 ? SIGINT : signal)
    }

    // MARK: - Signals

    // A handler may call almost nothing (signal-safety(7)): it writes the signal's number into a pipe, whose other end a
    // thread reads. A thread and not Dispatch or a task, so that a busy thread pool does not hold up the request.

    private static let pipeInput = Atomic<Int32>(-1)

    private static func catchSignals() throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EMFILE) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        let output = ends[0]
        pipeInput.store(ends[1], ordering: .relaxed)
        Thread.detachNewThread {
            var number: UInt8 = 0
            while true {
                let count = read(output, &number, 1)
                if count == 1 { obey(Int32(number)) } else if count == 0 || errno != EINTR { return }
            }
        }
        for signal in [SIGINT, SIGTERM] {
            // A parent that ignores the signal (`nohup`, a background job of a script) means it.
            var inherited = sigaction()
            sigaction(signal, nil, &inherited)
            if unsafeBitCast(inherited.__sigaction_handler.sa_handler, to: Int.self)
                != unsafeBitCast(SIG_IGN, to: Int.self)
            {
                catchNext(signal)
            }
        }
    }

    private static func catchNext(_ signal: Int32) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { signal in
            let error = errno
            var number = UInt8(truncatingIfNeeded: signal)
            _ = write(Interruption.pipeInput.load(ordering: .relaxed), &number, 1)
            errno = error
        }
        // RESETHAND puts the default action back at the first delivery, so the second one ends the process without any code
        // of ours.
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        sigaction(signal, &action, nil)
    }

    private static func obey(_ signal: Int32) {
        let part = targets.withLock { targets in
            defer { if signal == SIGINT { targets.part = nil } }
            return signal == SIGINT ? targets.part : nil
        }
        if let part {
            // The next Ctrl-C is a first one again.
            catchNext(signal)
            part()
        } else {
            signalNumber.store(signal, ordering: .relaxed)
            targets.withLock { $0.command }?()
        }
    }
}
