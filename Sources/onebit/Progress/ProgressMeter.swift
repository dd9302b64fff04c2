import Synchronization

/// Shows how far a long stage is: one line rewritten in place on a terminal, plain lines every few seconds elsewhere.
///
/// Can be advanced from any thread. Drawing is limited in rate, so advancing in a tight loop costs a clock reading.
final class ProgressMeter: Sendable {
    private struct Sample {
        var moment: ContinuousClock.Instant
        var done: Int
    }

    private struct State {
        var line: ProgressLine
        /// Where the count stood at the last drawings, oldest first: what the rate is taken from.
        var samples: [Sample]
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
        state = Mutex(State(line: line, samples: [start]))
        if let display, display.isTerminal { display.show(line) }
    }

    /// Counts `units` more; `note` replaces what stands at the end of the line.
    func advance(by units: Int = 1, note: String? = nil) {
        change(note: note) { $0 += units }
    }

    /// Sets the count; `note` replaces what stands at the end of the line.
    func update(done: Int, note: String? = nil) {
        change(note: note) { $0 = done }
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

    private func change(note: String?, _ count: (inout Int) -> Void) {
        let moment = now()
        // Drawn under the lock: two threads must not write half a line each.
        state.withLock { state in
            guard !state.isFinished else { return }
            count(&state.line.done)
            if let note { state.line.note = note }
            guard let display, let last = state.samples.last, moment - last.moment >= display.interval else { return }
            state.samples.append(Sample(moment: moment, done: state.line.done))
            // The oldest one stays until the next is itself a window old, so that slow steps have a rate too.
            while state.samples.count > 2, moment - state.samples[1].moment >= Self.rateWindow {
                state.samples.removeFirst()
            }
            state.line.elapsed = moment - start.moment
            state.line.rate = Self.rate(from: state.samples[0], to: Sample(moment: moment, done: state.line.done))
            display.show(state.line)
        }
    }

    /// Units per second between two samples; nil without time between them.
    private static func rate(from earlier: Sample, to later: Sample) -> Double? {
        let seconds = (later.moment - earlier.moment) / .seconds(1)
        return seconds > 0 ? Double(later.done - earlier.done) / seconds : nil
    }
}
