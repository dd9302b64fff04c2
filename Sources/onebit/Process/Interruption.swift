import Foundation
import Synchronization

/// Ctrl-C and `kill`: the first asks a stage to stop at a good place, a second one of the same kind kills at once.
///
/// Long stages poll ``isRequested`` (or call ``check()``) between steps, write their checkpoint, remove what is
/// unfinished and throw `CancellationError`; ``ErrorReport`` then exits with 128 + the signal's number, 130 for Ctrl-C.
/// What goes on after a Ctrl-C, as a chat does, calls ``takeInterrupt()``.
enum Interruption {
    /// The signal that asked to stop, 0 as long as none has.
    private static let signalNumber = Atomic<Int32>(0)

    /// True once the process has been asked to stop.
    static var isRequested: Bool { signalNumber.load(ordering: .relaxed) != 0 }

    /// Throws `CancellationError` once the process has been asked to stop.
    static func check() throws {
        if isRequested { throw CancellationError() }
    }

    /// Returns once the process has been asked to stop. Polls: a signal handler may wake nobody.
    static func request() async throws {
        while !isRequested { try await Task.sleep(for: .milliseconds(50)) }
    }

    /// Forgets a Ctrl-C that has been obeyed: the next one is a first again. False where none has come, or one to end
    /// (`kill`), which stays.
    static func takeInterrupt() -> Bool {
        guard signalNumber.compareExchange(expected: SIGINT, desired: 0, ordering: .relaxed).exchanged else {
            return false
        }
        catchNext(SIGINT)
        return true
    }

    /// What shells report for a process that the signal killed.
    static var exitCode: Int32 {
        let signal = signalNumber.load(ordering: .relaxed)
        return 128 + (signal == 0 ? SIGINT : signal)
    }

    /// Catches SIGINT and SIGTERM.
    static func install() {
        // Loads the flag before a handler can: the first access of a static may take a lock, a handler must not.
        signalNumber.store(0, ordering: .relaxed)
        for signal in [SIGINT, SIGTERM] {
            // A parent that ignores the signal (`nohup`, a background job of a script) means it.
            var inherited = sigaction()
            sigaction(signal, nil, &inherited)
            if unsafeBitCast(inherited.__sigaction_handler.sa_handler, to: Int.self)
                == unsafeBitCast(SIG_IGN, to: Int.self)
            {
                continue
            }
            catchNext(signal)
        }
    }

    private static func catchNext(_ signal: Int32) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { signal in
            Interruption.signalNumber.store(signal, ordering: .relaxed)
        }
        // RESETHAND puts the default action back at the first delivery, so the second one ends the process without
        // any code of ours. No SA_RESTART: a read from the terminal returns and its caller sees the request.
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        sigaction(signal, &action, nil)
    }
}
