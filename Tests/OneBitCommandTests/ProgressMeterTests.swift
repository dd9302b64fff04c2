import Synchronization
import Testing

@testable import onebit

@Suite("Progress meter")
struct ProgressMeterTests {
    /// Takes a meter's lines and tells it the time.
    private final class Stage: Sendable {
        let written = Mutex<[String]>([])
        let moment = Mutex(ContinuousClock.now)

        func meter(
            isTerminal: Bool, total: Int? = 300, done: Int = 0, repetition: Duration? = nil
        ) -> ProgressMeter {
            let display = ProgressDisplay(
                isTerminal: isTerminal,
                interval: isTerminal ? .milliseconds(100) : .seconds(10),
                repetition: repetition,
                width: { 60 },
                write: { text in self.written.withLock { $0.append(text) } }
            )
            return ProgressMeter("distil", total: total, done: done, unit: "steps", display: display) {
                self.moment.withLock { $0 }
            }
        }

        func wait(_ duration: Duration) { moment.withLock { $0 += duration } }
        var lines: [String] { written.withLock { $0 } }
    }

    @Test("On a terminal one line is rewritten and a last one stays")
    func terminal() {
        let stage = Stage()
        let meter = stage.meter(isTerminal: true)
        stage.wait(.seconds(1))
        meter.advance(by: 2)
        stage.wait(.milliseconds(80))
        meter.advance()  // too early to draw again
        meter.finish()
        meter.advance()  // after the end
        #expect(
            stage.lines == [
                "\rdistil  [------------------------------]  0 %  0/300 steps\u{1B}[K",
                "\rdistil  0 %  2/300 steps  2.00 steps/s  ETA 2 min 29 s\u{1B}[K",
                "\rdistil: 3 steps in 1.1 s, 2.78 steps/s\u{1B}[K\n",
            ]
        )
    }

    @Test("Elsewhere there is a plain line every ten seconds and one at the end")
    func plain() {
        let stage = Stage()
        let meter = stage.meter(isTerminal: false)
        for _ in 1...25 {
            stage.wait(.seconds(1))
            meter.advance(note: "loss 2")
        }
        meter.finish(note: "loss 1")
        #expect(
            stage.lines == [
                "distil: 3 %  10/300 steps, 1.00 steps/s, ETA 4 min 50 s, loss 2\n",
                "distil: 6 %  20/300 steps, 1.00 steps/s, ETA 4 min 40 s, loss 2\n",
                "distil: 25 steps in 25 s, 1.00 steps/s, loss 1\n",
            ]
        )
    }

    @Test("What an earlier run did counts as done, not for the rate")
    func resumed() {
        let stage = Stage()
        let meter = stage.meter(isTerminal: false, done: 200)
        stage.wait(.seconds(10))
        meter.update(done: 220)
        #expect(stage.lines == ["distil: 73 %  220/300 steps, 2.00 steps/s, ETA 40 s\n"])
    }

    @Test("The rate follows a machine that slows down")
    func slowingDown() throws {
        let stage = Stage()
        let meter = stage.meter(isTerminal: false, total: nil)
        for _ in 1...100 {
            stage.wait(.seconds(1))
            meter.advance(by: 10)
        }
        for _ in 1...60 {
            stage.wait(.seconds(1))
            meter.advance()
        }
        #expect(try #require(stage.lines.last) == "distil: 1,060 steps, 1.00 steps/s\n")
    }

    @Test("Advancing from many threads loses no count")
    func threads() async {
        let stage = Stage()
        let meter = stage.meter(isTerminal: false)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask { for _ in 0..<1000 { meter.advance() } }
            }
        }
        stage.wait(.seconds(1))
        meter.finish()
        #expect(stage.lines == ["distil: 8,000 steps in 1.0 s, 8,000 steps/s\n"])
    }

    @Test("A quiet meter writes nothing")
    func quiet() {
        let meter = ProgressMeter("distil", total: 3, unit: "steps", display: nil)
        meter.advance()
        meter.finish()
    }

    @Test("While one unit takes long, the line is shown again; after the end it is not")
    func repetition() async throws {
        let stage = Stage()
        let meter = stage.meter(isTerminal: false, repetition: .milliseconds(10))
        stage.wait(.seconds(12))
        for _ in 0..<500 where stage.lines.isEmpty { try await Task.sleep(for: .milliseconds(10)) }
        #expect(stage.lines == ["distil: 0 %  0/300 steps, 12 s so far\n"])
        meter.finish()
        stage.wait(.seconds(12))
        try await Task.sleep(for: .milliseconds(50))
        #expect(stage.lines.count == 2)
    }
}
