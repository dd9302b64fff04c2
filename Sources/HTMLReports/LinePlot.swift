import Foundation
import JSON

/// A line for each of some series, as SVG.
package struct LinePlot: Sendable {
    /// Where a line passes.
    package struct Point: Sendable, Hashable {
        package var x: Double
        package var y: Double

        package init(x: Double, y: Double) {
            self.x = x
            self.y = y
        }
    }

    package struct Line: Sendable {
        /// For print.
        package var name: String
        /// Number of the series, which decides the color.
        package var series: Int
        /// In the order of x.
        package var points: [Point]
        /// Whether to draw it thin, with its mean over neighbors as a second line.
        package var isNoisy: Bool
        /// Whether it is something to compare with: dashed.
        package var isReference: Bool

        package init(
            name: String, series: Int, points: [Point], isNoisy: Bool = false, isReference: Bool = false
        ) {
            self.name = name
            self.series = series
            self.points = points
            self.isNoisy = isNoisy
            self.isReference = isReference
        }
    }

    /// What an axis shows.
    package struct Scale: Sendable {
        package var title: String
        /// Whether to let factors and not differences be equally long; values that are not above zero are then not drawn.
        package var isLogarithmic: Bool

        package init(_ title: String, isLogarithmic: Bool = false) {
            self.title = title
            self.isLogarithmic = isLogarithmic
        }
    }

    package var title: String
    /// What the values are counted in; none for pure numbers.
    package var unit: String
    package var lines: [Line]
    /// Whether the values' axis is logarithmic.
    package var isLogarithmic: Bool
    /// The other axis.
    package var x: Scale

    package init(
        title: String, unit: String = "", lines: [Line], isLogarithmic: Bool = false, x: Scale = Scale("step")
    ) {
        self.title = title
        self.unit = unit
        self.lines = lines
        self.isLogarithmic = isLogarithmic
        self.x = x
    }

    private static let (width, height) = (560.0, 280.0)
    private static let (left, right, top, bottom) = (64.0, 14.0, 12.0, 44.0)
    /// Points of a line that are drawn at the most.
    private static let pointLimit = 400

    /// Rows of a plot's table at the most.
    private static let rowLimit = 12

    /// Lines of what can be drawn.
    private var drawn: [Line] {
        lines.map { line in
            var line = line
            line.points = line.points.filter { point in
                point.x.isFinite && point.y.isFinite && !(isLogarithmic && point.y <= 0)
                    && !(x.isLogarithmic && point.x <= 0)
            }
            return line
        }
    }

    /// The plot with a table of some of its points; nil where no line has a point.
    package var figure: String? {
        svg.map { "<figure>\($0)\(legend)\(table.map { HTML.details("table", $0) } ?? "")</figure>" }
    }

    /// Which color is whose, where there are several.
    private var legend: String {
        let names = lines.filter { !$0.points.isEmpty && !$0.isReference }.map { ($0.series, $0.name) }
        return names.count > 1 ? HTML.legend(names) : ""
    }

    /// Some of the points as a table, the first and the last among them.
    private var table: String? {
        let lines = lines.filter { !$0.points.isEmpty }
        guard let base = lines.max(by: { $0.points.count < $1.points.count })?.points else { return nil }
        let count = min(Self.rowLimit, base.count)
        let rows = (0..<count).map { row -> [String] in
            let x = base[row * (base.count - 1) / max(1, count - 1)].x
            return [Axis.label(x)] + lines.map { Self.value(of: $0.points, at: x).map(Axis.label) ?? "–" }
        }
        return HTML.table([x.title] + lines.map(\.name), rows)
    }

    /// The value at a place, where a line has one there.
    private static func value(of points: [Point], at x: Double) -> Double? {
        var (low, high) = (0, points.count)
        while low < high {
            let middle = (low + high) / 2
            if points[middle].x < x { low = middle + 1 } else { high = middle }
        }
        return low < points.count && points[low].x == x ? points[low].y : nil
    }

    /// What is drawn, for programs.
    package var numbers: JSONValue {
        .object(
            JSONObject([
                ("title", .string(title)), ("unit", .string(unit)), ("x", .string(x.title)),
                (
                    "lines",
                    .array(
                        drawn.map { line in
                            .object(
                                JSONObject([
                                    ("name", .string(line.name)),
                                    (
                                        "points",
                                        .array(
                                            Self.thinned(line.points).map { .array([.number($0.x), .number($0.y)]) })
                                    ),
                                ]))
                        })
                ),
            ]))
    }

    private var svg: String? {
        let drawn = drawn
        let points = drawn.flatMap(\.points)
        guard let first = points.first else { return nil }
        let scale = self.x
        let x = Axis(points.reduce(first.x...first.x) { $0.including($1.x) }, isLogarithmic: scale.isLogarithmic)
        let y = Axis(points.reduce(first.y...first.y) { $0.including($1.y) }, isLogarithmic: isLogarithmic)
        var body = ""
        for tick in y.ticks {
            let at = Self.number(vertical(y, tick))
            body +=
                "<line class=\"grid\" x1=\"\(Int(Self.left))\" x2=\"\(Int(Self.width - Self.right))\" y1=\"\(at)\" y2=\"\(at)\"/>"
            body +=
                "<text class=\"tick\" x=\"\(Int(Self.left - 6))\" y=\"\(at)\" dy=\"0.32em\" text-anchor=\"end\">\(Axis.label(tick))</text>"
        }
        for tick in x.ticks {
            let at = Self.number(horizontal(x, tick))
            body +=
                "<text class=\"tick\" x=\"\(at)\" y=\"\(Int(Self.height - Self.bottom + 18))\" text-anchor=\"middle\">\(Axis.label(tick))</text>"
        }
        body +=
            "<text class=\"tick\" x=\"\(Int(Self.width - Self.right))\" y=\"\(Int(Self.height - 3))\" text-anchor=\"end\">\(HTML.escaped(scale.title))</text>"
        for line in drawn where !line.points.isEmpty { body += draw(line, x, y) }
        let label = HTML.escaped(unit.isEmpty ? title : "\(title), \(unit)")
        return """
            <figcaption>\(label)\(isLogarithmic ? " <small>logarithmic</small>" : "")</figcaption>\
            <svg viewBox="0 0 \(Int(Self.width)) \(Int(Self.height))" role="img" aria-label="\(label)">\(body)</svg>
            """
    }

    private func draw(_ line: Line, _ x: Axis, _ y: Axis) -> String {
        func path(_ points: [Point], _ style: String) -> String {
            if points.count == 1 {
                let (cx, cy) = (Self.number(horizontal(x, points[0].x)), Self.number(vertical(y, points[0].y)))
                return "<circle class=\"\(ReportStyle.line(line.series)) dot\" cx=\"\(cx)\" cy=\"\(cy)\" r=\"3\"/>"
            }
            let places = points.map { "\(Self.number(horizontal(x, $0.x))),\(Self.number(vertical(y, $0.y)))" }
            let list = places.joined(separator: " ")
            return "<polyline class=\"\(ReportStyle.line(line.series))\(style)\" points=\"\(list)\"/>"
        }
        if line.isReference { return path(line.points, " reference") }
        guard line.isNoisy, line.points.count > 20 else { return path(Self.thinned(line.points), "") }
        return path(Self.thinned(line.points), " faint") + path(Self.means(of: line.points), "")
    }

    private func horizontal(_ axis: Axis, _ value: Double) -> Double {
        Self.left + axis.fraction(value) * (Self.width - Self.left - Self.right)
    }

    private func vertical(_ axis: Axis, _ value: Double) -> Double {
        Self.height - Self.bottom - axis.fraction(value) * (Self.height - Self.top - Self.bottom)
    }

    private static func number(_ value: Double) -> String { String(format: "%.1f", value) }

    /// Of each of some hundred runs of neighbors the smallest and the largest, so that no peak is lost.
    static func thinned(_ points: [Point]) -> [Point] {
        guard points.count > pointLimit else { return points }
        return buckets(of: points, count: pointLimit / 2).flatMap { bucket -> [Point] in
            guard let low = bucket.min(by: { $0.y < $1.y }), let high = bucket.max(by: { $0.y < $1.y }) else {
                return []
            }
            return low.x <= high.x ? [low, high] : [high, low]
        }
    }

    /// The mean of each of some runs of neighbors.
    static func means(of points: [Point]) -> [Point] {
        buckets(of: points, count: min(100, points.count / 5)).map { bucket in
            let count = Double(bucket.count)
            return Point(x: bucket.reduce(0) { $0 + $1.x } / count, y: bucket.reduce(0) { $0 + $1.y } / count)
        }
    }

    private static func buckets(of points: [Point], count: Int) -> [ArraySlice<Point>] {
        (0..<count).map { points[$0 * points.count / count..<($0 + 1) * points.count / count] }
    }
}

/// A range of values and where its marks are.
package struct Axis: Sendable {
    package let range: ClosedRange<Double>
    package let ticks: [Double]
    private let isLogarithmic: Bool

    package init(_ values: ClosedRange<Double>, isLogarithmic: Bool) {
        self.isLogarithmic = isLogarithmic
        if isLogarithmic {
            // A little room above and below.
            let (low, high) = (values.lowerBound * 0.95, values.upperBound * 1.05)
            range = low...high
            let ticks = Self.logarithmicTicks(in: range)
            // Within less than a factor of two or so the marks of differences tell more.
            self.ticks = ticks.count < 3 ? Self.linearTicks(in: range) : ticks
        } else {
            let spread = values.upperBound - values.lowerBound
            let margin = spread > 0 ? spread * 0.03 : max(abs(values.lowerBound) * 0.1, 1e-9)
            let low = values.lowerBound >= 0 ? max(0, values.lowerBound - margin) : values.lowerBound - margin
            range = low...values.upperBound + margin
            ticks = Self.linearTicks(in: range)
        }
    }

    /// At 1, 2 and 5 times powers of ten; at some of the powers alone where there are many.
    private static func logarithmicTicks(in range: ClosedRange<Double>) -> [Double] {
        let exponents = Int(log10(range.lowerBound).rounded(.down))...Int(log10(range.upperBound).rounded(.up))
        let factors = exponents.count > 4 ? [1.0] : [1.0, 2.0, 5.0]
        // No more than there is room for.
        let step = exponents.count / 8 + 1
        return stride(from: exponents.lowerBound, through: exponents.upperBound, by: step).flatMap { exponent in
            factors.map { $0 * pow(10, Double(exponent)) }
        }
        .filter(range.contains)
    }

    /// Five steps or so of 1, 2 or 5 times a power of ten.
    private static func linearTicks(in range: ClosedRange<Double>) -> [Double] {
        let raw = (range.upperBound - range.lowerBound) / 5
        let power = pow(10, log10(raw).rounded(.down))
        let step = ([1, 2, 5].first { $0 * power >= raw } ?? 10) * power
        let first = (range.lowerBound / step).rounded(.up)
        let last = (range.upperBound / step).rounded(.down)
        return first <= last ? stride(from: first, through: last, by: 1).map { $0 * step } : []
    }

    /// Where a value lies in the range: 0 at its begin, 1 at its end.
    package func fraction(_ value: Double) -> Double {
        func scaled(_ value: Double) -> Double { isLogarithmic ? log(value) : value }
        return (scaled(value) - scaled(range.lowerBound)) / (scaled(range.upperBound) - scaled(range.lowerBound))
    }

    /// 0.0005, 12.5, 3k, 2.5M, 1e-07.
    package static func label(_ value: Double) -> String {
        let size = abs(value)
        for (limit, suffix) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] where size >= limit {
            return String(format: "%.4g", value / limit) + suffix
        }
        return String(format: "%.4g", value)
    }
}

extension ClosedRange<Double> {
    fileprivate func including(_ value: Double) -> ClosedRange<Double> {
        Swift.min(lowerBound, value)...Swift.max(upperBound, value)
    }
}
