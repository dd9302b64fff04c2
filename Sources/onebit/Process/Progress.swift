import Foundation
import Synchronization

/// Shows how far a long stage is: one line rewritten in place on a terminal, plain lines every few seconds elsewhere.
///
/// Can be advanced from any thread. Drawing is limited in rate, so advancing in a tight loop costs a clock reading. While
/// one unit takes long, the line is shown again now and then, so that nobody wonders whether anything happens.
final class ProgressMeter: Sendable {
    private struct Sample {
        var moment: ContinuousClock.Instant
        var done: Int
    }

    private struct State {
        var line: ProgressLine
        /// Where the count stood at the last drawings, oldest first: what the rate is taken from.
        var samples: [Sample]
        /// When the line was last drawn.
        var drawn: ContinuousClock.Instant
        var isFinished = false
    }

    /// The rate is that of the last half minute: it follows a machine that slows down, and doesn't jump.
    private static let rateWindow: Duration = .seconds(30)

    private let state: Mutex<State>
    private let start: Sample
    /// Where lines go; nil shows nothing.
    private let display: ProgressDisplay?
    /// The time. Tests bring their own.
    private let now: @Sendable () -> ContinuousClock.Instant

    /// - Parameters:
    ///   - label: what is being done, one word if possible.
    ///   - total: units in all, where known: without it there is no bar and no ETA.
    ///   - done: units that an earlier run did. They count as done and not for the rate.
    ///   - unit: name of the units, in the plural.
    ///   - display: where lines go; nil shows nothing.
    init(
        _ label: String,
        total: Int?,
        done: Int = 0,
        unit: String,
        display: ProgressDisplay?,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        start = Sample(moment: now(), done: done)
        self.display = display
        self.now = now
        let line = ProgressLine(label: label, done: done, total: total, unit: unit)
        state = Mutex(State(line: line, samples: [start], drawn: start.moment))
        guard let display else { return }
        if display.isTerminal { display.show(line) }
        if let interval = display.repetition { repeatLine(every: interval) }
    }

    /// Shows the line again whenever it has not changed for `interval`, until the meter is finished or released.
    private func repeatLine(every interval: Duration) {
        DispatchQueue.global().asyncAfter(deadline: .now() + interval / .seconds(1)) { [weak self] in
            guard let self else { return }
            let isFinished = state.withLock { state in
                if !state.isFinished, now() - state.drawn >= interval { draw(&state, at: now()) }
                return state.isFinished
            }
            if !isFinished { repeatLine(every: interval) }
        }
    }

    /// Counts `units` more; `note` replaces what stands at the end of the line.
    func advance(by units: Int = 1, note: String? = nil) {
        change(note: note) { $0 += units }
    }

    /// Sets the count; `note` replaces what stands at the end of the line, and `total` the number of units in all, where
    /// that is estimated on the way.
    func update(done: Int, total: Int? = nil, note: String? = nil) {
        change(note: note, total: total) { $0 = done }
    }

    /// Leaves one last line with the count, the time and the mean rate. What comes after it is not shown.
    func finish(note: String? = nil) {
        let moment = now()
        state.withLock { state in
            guard !state.isFinished else { return }
            state.isFinished = true
            if let note { state.line.note = note }
            state.line.elapsed = moment - start.moment
            state.line.rate = Self.rate(from: start, to: Sample(moment: moment, done: state.line.done))
            display?.close(with: state.line)
        }
    }

    private func change(note: String?, total: Int? = nil, _ count: (inout Int) -> Void) {
        let moment = now()
        // Drawn under the lock: two threads must not write half a line each.
        state.withLock { state in
            guard !state.isFinished else { return }
            count(&state.line.done)
            if let note { state.line.note = note }
            if let total { state.line.total = total }
            guard let display, moment - state.drawn >= display.interval else { return }
            state.samples.append(Sample(moment: moment, done: state.line.done))
            // The oldest one stays until the next is itself a window old, so that slow steps have a rate too.
            while state.samples.count > 2, moment - state.samples[1].moment >= Self.rateWindow {
                state.samples.removeFirst()
            }
            draw(&state, at: moment)
        }
    }

    private func draw(_ state: inout State, at moment: ContinuousClock.Instant) {
        state.drawn = moment
        state.line.elapsed = moment - start.moment
        state.line.rate = Self.rate(from: state.samples[0], to: Sample(moment: moment, done: state.line.done))
        display?.show(state.line)
    }

    /// Units per second between two samples; nil without time or units between them.
    private static func rate(from earlier: Sample, to later: Sample) -> Double? {
        let seconds = (later.moment - earlier.moment) / .seconds(1)
        return seconds > 0 && later.done > earlier.done ? Double(later.done - earlier.done) / seconds : nil
    }
}

/// Where a ``ProgressMeter`` writes its lines, and how often.
struct ProgressDisplay: Sendable {
    /// Rewrites one line if true, writes lines one below the other if not.
    let isTerminal: Bool
    /// Least time between two drawings.
    let interval: Duration
    /// Time after which a line that has not changed is shown again; nil for never.
    var repetition: Duration?
    /// Columns, asked for at every drawing: windows are resized.
    let width: @Sendable () -> Int
    let write: @Sendable (String) -> Void

    /// Standard error, ten times a second on a terminal and every eight seconds elsewhere.
    static let standardError: ProgressDisplay = {
        let isTerminal = isatty(STDERR_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
        return ProgressDisplay(
            isTerminal: isTerminal,
            // Eight and not ten, so that with the loading of a model the first line comes within ten seconds.
            interval: isTerminal ? .milliseconds(100) : .seconds(8),
            repetition: isTerminal ? .seconds(1) : .seconds(8),
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

/// What a progress meter shows at one moment, and how it is written.
struct ProgressLine {
    /// What is being done: "distil".
    var label: String
    /// Units done, those of an earlier run that is being resumed included.
    var done: Int
    /// Units in all, where known.
    var total: Int?
    /// Name of the units: "steps".
    var unit: String
    /// Units per second, where enough time has passed to say.
    var rate: Double?
    /// Time since the meter started.
    var elapsed: Duration = .zero
    /// What else is worth seeing: "loss 3.21".
    var note = ""

    private static let widestBar = 30
    private static let narrowestBar = 8

    /// One line for a terminal of `width` columns, never wider than `width - 1`: a full line would wrap.
    ///
    /// When room is short the bar shrinks, then goes; then the rate, the note and the label's end go.
    func terminalText(width: Int) -> String {
        let room = max(0, width - 1)
        let wanted = [count, speed, remaining, note].compactMap(\.self).filter { !$0.isEmpty }
        let essential = [count, remaining].compactMap(\.self)
        for details in [wanted, wanted.filter { $0 != note }, essential] {
            let text = "\(label)  " + details.joined(separator: "  ")
            guard text.count <= room else { continue }
            let barRoom = room - text.count - 4  // two brackets and two spaces
            guard let fraction, barRoom >= Self.narrowestBar else { return text }
            let bar = Self.bar(fraction: fraction, width: min(barRoom, Self.widestBar))
            return "\(label)  \(bar)  " + details.joined(separator: "  ")
        }
        return String("\(label) \(count)".prefix(room))
    }

    /// One line for a log file.
    var plainText: String {
        let details = [
            count, speed ?? (elapsed > .zero ? "\(Quantity.duration(elapsed)) so far" : nil), remaining, note,
        ]
        return "\(label): " + details.compactMap(\.self).filter { !$0.isEmpty }.joined(separator: ", ")
    }

    /// The line that stays when the work is over. `done` is what this run did and an earlier one had done.
    var finalText: String {
        let details = ["\(Quantity.grouped(done)) \(unit) in \(Quantity.duration(elapsed))", speed, note]
        return "\(label): " + details.compactMap(\.self).filter { !$0.isEmpty }.joined(separator: ", ")
    }

    /// Between 0 and 1, where the total is known.
    private var fraction: Double? {
        guard let total, total > 0 else { return nil }
        return min(1, max(0, Double(done) / Double(total)))
    }

    private var count: String {
        guard let total, let fraction else { return "\(Quantity.grouped(done)) \(unit)" }
        // Rounded down: 100 % means done.
        return "\(Int(fraction * 100)) %  \(Quantity.grouped(done))/\(Quantity.grouped(total)) \(unit)"
    }

    private var speed: String? {
        rate.map { "\(Quantity.rate($0)) \(unit)/s" }
    }

    private var remaining: String? {
        guard let total, let rate, rate > 0, done < total else { return nil }
        return "ETA \(Quantity.duration(seconds: Double(total - done) / rate))"
    }

    private static func bar(fraction: Double, width: Int) -> String {
        let full = Int(fraction * Double(width))
        return "[" + String(repeating: "#", count: full) + String(repeating: "-", count: width - full) + "]"
    }
}
