import Foundation
import Synchronization

/// Where a ``ProgressMeter`` writes its lines, and how often.
struct ProgressDisplay: Sendable {
    /// Rewrites one line if true, writes lines one below the other if not.
    let isTerminal: Bool
    /// Least time between two drawings.
    let interval: Duration
    /// Columns, asked for at every drawing: windows are resized.
    let width: @Sendable () -> Int
    let write: @Sendable (String) -> Void

    /// Standard error, ten times a second on a terminal and every ten seconds elsewhere.
    static let standardError: ProgressDisplay = {
        let isTerminal = isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
        return ProgressDisplay(
            isTerminal: isTerminal,
            interval: isTerminal ? .milliseconds(100) : .seconds(10),
            width: { terminalWidth(of: STDERR_FILENO) },
            write: StandardStreams.writeError
        )
    }()

    /// True while the terminal's cursor stands at the end of a progress line.
    private static let lineIsOpen = Atomic<Bool>(false)

    func show(_ line: ProgressLine) {
        guard isTerminal else {
            write(line.plainText + "\n")
            return
        }
        // Back to the first column, text, erase what an earlier and longer line left behind it.
        write("\r" + line.terminalText(width: width()) + "\u{1B}[K")
        Self.lineIsOpen.store(true, ordering: .relaxed)
    }

    func close(with line: ProgressLine) {
        write((isTerminal ? "\r" : "") + line.finalText + (isTerminal ? "\u{1B}[K\n" : "\n"))
        Self.lineIsOpen.store(false, ordering: .relaxed)
    }

    /// Ends a progress line that a failed stage left open, so that what comes next starts on a line of its own.
    static func endOpenLine() {
        if lineIsOpen.exchange(false, ordering: .relaxed) { StandardStreams.writeError("\n") }
    }

    private static func terminalWidth(of descriptor: Int32) -> Int {
        var size = winsize()
        if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 { return Int(size.ws_col) }
        return 80
    }
}
