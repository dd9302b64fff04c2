import Testing

@testable import onebit

@Suite("Progress lines")
struct ProgressLineTests {
    private let line = ProgressLine(
        label: "distil",
        done: 135,
        total: 300,
        unit: "steps",
        rate: 2.11,
        elapsed: .seconds(64),
        note: "loss 3.21"
    )

    @Test(
        "A terminal line drops what matters least as the window narrows",
        arguments: [
            (
                120,
                "distil  [#############-----------------]  45 %  135/300 steps  2.11 steps/s  ETA 1 min 18 s  loss 3.21"
            ),
            (82, "distil  [####-----]  45 %  135/300 steps  2.11 steps/s  ETA 1 min 18 s  loss 3.21"),
            (80, "distil  45 %  135/300 steps  2.11 steps/s  ETA 1 min 18 s  loss 3.21"),
            (65, "distil  45 %  135/300 steps  2.11 steps/s  ETA 1 min 18 s"),
            (50, "distil  45 %  135/300 steps  ETA 1 min 18 s"),
            (20, "distil 45 %  135/30"),
            (1, ""),
            (0, ""),
        ]
    )
    func fitted(width: Int, text: String) {
        #expect(line.terminalText(width: width) == text)
    }

    @Test("No terminal line is as wide as the window, where it would wrap", arguments: 0...200)
    func neverWraps(width: Int) {
        #expect(line.terminalText(width: width).count <= max(0, width - 1))
    }

    @Test("Without a total there is a count, and neither bar nor ETA")
    func withoutTotal() {
        let line = ProgressLine(label: "read", done: 12_000, total: nil, unit: "lines", rate: 6000)
        #expect(line.terminalText(width: 80) == "read  12,000 lines  6,000 lines/s")
        #expect(line.plainText == "read: 12,000 lines, 6,000 lines/s")
    }

    @Test("A total of nothing, an overshot total and a standing rate draw as well")
    func edges() {
        #expect(ProgressLine(label: "a", done: 0, total: 0, unit: "b").plainText == "a: 0 b")
        #expect(
            ProgressLine(label: "a", done: 4, total: 3, unit: "b", rate: 1).plainText == "a: 100 %  4/3 b, 1.00 b/s"
        )
        #expect(ProgressLine(label: "a", done: 1, total: 3, unit: "b", rate: 0).plainText == "a: 33 %  1/3 b, 0 b/s")
    }

    @Test("The share is rounded down: 100 % means done")
    func roundedDown() {
        #expect(ProgressLine(label: "a", done: 999, total: 1000, unit: "b").plainText == "a: 99 %  999/1,000 b")
    }

    @Test("The last line says how much, how long and how fast")
    func final() {
        #expect(line.finalText == "distil: 135 steps in 1 min 04 s, 2.11 steps/s, loss 3.21")
    }
}
