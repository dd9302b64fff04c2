import Foundation

/// Horizontal bars in groups, each with its value and how far it may be off, as SVG.
package struct BarPlot: Sendable {
    package struct Bar: Sendable {
        /// Number of the series, which decides the color.
        package var series: Int
        package var value: Double
        package var standardError: Double?

        package init(series: Int, value: Double, standardError: Double? = nil) {
            self.series = series
            self.value = value
            self.standardError = standardError
        }
    }

    package struct Group: Sendable {
        package var title: String
        package var bars: [Bar]

        package init(_ title: String, _ bars: [Bar]) {
            self.title = title
            self.bars = bars
        }
    }

    package var title: String
    /// What the values are counted in; none for pure numbers.
    package var unit: String
    /// Decimals of the values in print.
    package var digits: Int
    package var series: [String]
    package var groups: [Group]

    package init(title: String, unit: String = "", digits: Int, series: [String], groups: [Group]) {
        self.title = title
        self.unit = unit
        self.digits = digits
        self.series = series
        self.groups = groups
    }

    private static let (width, room, barHeight, gap) = (560.0, 190.0, 18.0, 5.0)
    /// Characters of a group's title that have room.
    private static let titleLimit = 60

    /// The plot with a table of its values; nil where there is none to draw.
    package var figure: String? {
        let bars = groups.flatMap(\.bars).filter { $0.value.isFinite }
        guard !bars.isEmpty else { return nil }
        let largest = bars.reduce(0) { max($0, $1.value + ($1.standardError ?? 0)) }
        let scale = (Self.width - Self.room) / (largest > 0 && largest.isFinite ? largest : 1)
        var (body, y) = ("", 0.0)
        for group in groups {
            y += 20
            let isLong = group.title.count > Self.titleLimit
            let name = isLong ? group.title.prefix(Self.titleLimit - 1) + "…" : group.title
            body += "<text x=\"0\" y=\"\(Self.number(y))\">\(HTML.escaped(name))</text>"
            y += 6
            for bar in group.bars {
                body += draw(bar, y, scale)
                y += Self.barHeight + Self.gap
            }
            y += 6
        }
        let label = HTML.escaped(unit.isEmpty ? title : "\(title), \(unit)")
        return """
            <figure><figcaption>\(label)</figcaption>\
            \(series.count > 1 ? HTML.legend(series.enumerated().map { ($0.offset, $0.element) }) : "")\
            <svg viewBox="0 0 \(Int(Self.width)) \(Int(y))" role="img" aria-label="\(label)">\(body)</svg>\
            \(table)</figure>
            """
    }

    private var table: String {
        HTML.table(
            [""] + series,
            groups.map { group in
                [group.title]
                    + series.indices.map { index in group.bars.first { $0.series == index }.map(text) ?? "–" }
            })
    }

    private func draw(_ bar: Bar, _ y: Double, _ scale: Double) -> String {
        guard bar.value.isFinite else { return "" }
        let length = max(0, bar.value) * scale
        let middle = Self.number(y + Self.barHeight / 2)
        var (body, end) = (
            "<rect class=\"\(ReportStyle.fill(bar.series))\" x=\"0\" y=\"\(Self.number(y))\" "
                + "width=\"\(Self.number(length))\" height=\"\(Int(Self.barHeight))\" rx=\"2\"/>", length
        )
        if let error = bar.standardError, error.isFinite, error > 0 {
            let (low, high) = (max(0, bar.value - error) * scale, max(0, bar.value + error) * scale)
            body +=
                "<line class=\"whisker\" x1=\"\(Self.number(low))\" x2=\"\(Self.number(high))\" y1=\"\(middle)\" y2=\"\(middle)\"/>"
            end = max(length, high)
        }
        return body
            + "<text x=\"\(Self.number(end + 6))\" y=\"\(middle)\" dy=\"0.35em\">\(HTML.escaped(text(of: bar)))</text>"
    }

    private func text(of bar: Bar) -> String {
        func fixed(_ value: Double) -> String { String(format: "%.\(digits)f", value) }
        guard bar.value.isFinite else { return "–" }
        return fixed(bar.value) + (bar.standardError.map { "\u{A0}±\u{A0}" + fixed($0) } ?? "")
    }

    private static func number(_ value: Double) -> String { String(format: "%.1f", value) }
}
