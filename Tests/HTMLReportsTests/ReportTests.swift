import Foundation
import HTMLReports
import JSON
import TestSupport
import Testing

@testable import HTMLReports

@Suite("Reports as HTML")
struct ReportTests {
    private static let hostile =
        "</pre></script><script>alert('1')</script><img src=x onerror=\"alert(1)\">&amp;<!--\u{0}\u{1B}\u{9F}"

    @Test("Text is text and never markup, in every place that a string can come to")
    func escaping() throws {
        let hostile = Self.hostile
        let line = LinePlot.Line(name: hostile, series: 0, points: [.init(x: 1, y: 2), .init(x: 2, y: 3)])
        let page = ReportPage(
            heading: hostile, subject: hostile,
            sections: [
                ReportSection(
                    "plots", title: hostile,
                    figures: [
                        LinePlot(title: hostile, unit: hostile, lines: [line], x: .init(hostile)).figure,
                        BarPlot(
                            title: hostile, unit: hostile, digits: 1, series: [hostile, hostile],
                            groups: [.init(hostile, [.init(series: 0, value: 1), .init(series: 1, value: 2)])]
                        ).figure,
                    ]),
                ReportSection("table", HTML.table([hostile], [[hostile]])),
                ReportSection("details", HTML.details(hostile, HTML.legend([(0, hostile)]))),
            ],
            numbers: JSONValue.object(JSONObject([(hostile, .string(hostile))])).serialized())
        let numbers = try checkReportPage(page.html)
        #expect(numbers.first?.value as? String == hostile && numbers.first?.key == hostile)
        for markup in ["<img", "<!--"] { #expect(!page.html.contains(markup)) }
        #expect(page.html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"))
        #expect(page.html.contains("&amp;amp;"))
        // A page that is sent by a server has its script and no other.
        let live = page.liveHTML(title: hostile, picture: hostile, age: 3.5, script: "let script;")
        #expect(live.matches(of: /<script/).count == 1 && live.contains("<script>let script;</script>"))
        #expect(live.contains("data-age=\"3\"") && !live.contains("<img"))
        for control in ["\u{0}", "\u{1B}", "\u{9F}"] as [Unicode.Scalar] {
            #expect(!live.unicodeScalars.contains(control))
        }
    }

    @Test("A line of many points keeps its peaks; marks are round numbers inside the range")
    func plots() throws {
        let points = (0..<10_000).map { LinePlot.Point(x: Double($0), y: $0 == 4321 ? 99 : Double($0 % 7)) }
        let thinned = LinePlot.thinned(points)
        #expect(thinned.count <= 400 && thinned.contains { $0.y == 99 })
        #expect(zip(thinned, thinned.dropFirst()).allSatisfy { $0.x <= $1.x })
        #expect(Axis(0...97, isLogarithmic: false).ticks == [0, 20, 40, 60, 80])
        #expect(Axis(3...3, isLogarithmic: false).ticks.contains(3))
        #expect(Axis(4...700, isLogarithmic: true).ticks == [5, 10, 20, 50, 100, 200, 500])
        #expect(Axis(1.3...3, isLogarithmic: true).ticks.count >= 3)
        #expect(Axis(1e-6...100, isLogarithmic: true).ticks.count <= 8)
        #expect([0.0005, 12.5, 3000, 2_500_000, 0].map(Axis.label) == ["0.0005", "12.5", "3k", "2.5M", "0"])
        #expect(LinePlot(title: "", lines: [.init(name: "", series: 0, points: [])]).figure == nil)
        let single = LinePlot(title: "", lines: [.init(name: "", series: 0, points: [.init(x: 1, y: 1)])])
        #expect(single.figure?.contains("circle") == true)
        // What no axis has a place for is left out.
        let line = LinePlot.Line(
            name: "", series: 0, points: [.init(x: 0, y: 1), .init(x: 1, y: .nan), .init(x: 2, y: 5)])
        let logarithmic = try #require(LinePlot(title: "", lines: [line], x: .init("x", isLogarithmic: true)).figure)
        #expect(logarithmic.contains("circle") && !logarithmic.contains("nan,"))
    }

    @Test("Beside a line stands a table of some of its points, exact, the first and the last among them")
    func lineTable() throws {
        let long = LinePlot.Line(
            name: "long", series: 0, points: (1...100).map { .init(x: Double($0), y: Double($0 * 2)) })
        let short = LinePlot.Line(name: "short", series: 10, points: (1...50).map { .init(x: Double($0), y: 7) })
        let figure = try #require(LinePlot(title: "t", lines: [long, short]).figure)
        #expect(figure.contains("<tr><td>1</td><td>2</td><td>7</td></tr>"))
        #expect(figure.contains("<tr><td>100</td><td>200</td><td>–</td></tr>"))
        #expect(figure.matches(of: /<tr>/).count == 13)
        // There are nine colors: series share them.
        #expect(figure.contains("polyline class=\"run1\""))
    }

    @Test("Bars are as long as their values, with their errors; of what is no number there is none")
    func bars() throws {
        let plot = BarPlot(
            title: "Accuracy", unit: "%", digits: 1, series: ["a", "b"],
            groups: [
                .init("one", [.init(series: 0, value: 50, standardError: 2), .init(series: 1, value: 25)]),
                .init("two", [.init(series: 0, value: .nan), .init(series: 1, value: 52)]),
            ])
        let figure = try #require(plot.figure)
        let widths = figure.matches(of: /class="fill\d" x="0" y="[\d.]+" width="([\d.]+)"/).compactMap { Double($0.1) }
        #expect(widths.count == 3)
        #expect(abs(widths[0] - 2 * widths[1]) < 0.2 && widths[2] > widths[0])
        #expect(figure.matches(of: /whisker/).count == 1)
        #expect(
            figure.contains("50.0\u{A0}±\u{A0}2.0") && figure.contains("<tr><td>two</td><td>–</td><td>52.0</td></tr>"))
        let empty = BarPlot(title: "", digits: 0, series: [], groups: [.init("", [.init(series: 0, value: .infinity)])])
        #expect(empty.figure == nil)
    }
}
