import Foundation

/// A line for each of some runs over their steps, as SVG.
struct LinePlot {
    /// Where a line passes.
    struct Point: Sendable, Hashable {
        var x: Double
        var y: Double
    }

    struct Line: Sendable {
        /// Number of the run, which decides the color.
        var run: Int
        var points: [Point]
        /// Whether to draw it thin, with its mean over neighbors as a second line.
        var isNoisy = false
        /// Whether it is something to compare with: dashed.
        var isReference = false
    }

    var title: String
    /// What the values are counted in; none for pure numbers.
    var unit = ""
    var lines: [Line]
    /// Whether to let factors and not differences be equally long; only where all values are above zero.
    var isLogarithmic = false

    private static let (width, height) = (560.0, 280.0)
    private static let (left, right, top, bottom) = (64.0, 14.0, 12.0, 44.0)
    /// Points of a line that are drawn at the most.
    private static let pointLimit = 400

    /// The plot; nil where no line has a point.
    var svg: String? {
        let drawn = lines.map { line in
            var line = line
            line.points = line.points.filter { $0.x.isFinite && $0.y.isFinite && !(isLogarithmic && $0.y <= 0) }
            return line
        }
        let points = drawn.flatMap(\.points)
        guard let first = points.first else { return nil }
        let x = Axis(points.reduce(first.x...first.x) { $0.including($1.x) }, isLogarithmic: false)
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
            "<text class=\"tick\" x=\"\(Int(Self.width - Self.right))\" y=\"\(Int(Self.height - 3))\" text-anchor=\"end\">step</text>"
        for line in drawn where !line.points.isEmpty { body += draw(line, x, y) }
        let label = HTML.escaped(unit.isEmpty ? title : "\(title), \(unit)")
        return """
            <figure><figcaption>\(label)\(isLogarithmic ? " <small>logarithmic</small>" : "")</figcaption>\
            <svg viewBox="0 0 \(Int(Self.width)) \(Int(Self.height))" role="img" aria-label="\(label)">\(body)</svg></figure>
            """
    }

    private func draw(_ line: Line, _ x: Axis, _ y: Axis) -> String {
        func path(_ points: [Point], _ style: String) -> String {
            if points.count == 1 {
                let (cx, cy) = (Self.number(horizontal(x, points[0].x)), Self.number(vertical(y, points[0].y)))
                return "<circle class=\"run\(line.run) dot\" cx=\"\(cx)\" cy=\"\(cy)\" r=\"3\"/>"
            }
            let places = points.map { "\(Self.number(horizontal(x, $0.x))),\(Self.number(vertical(y, $0.y)))" }
            return "<polyline class=\"run\(line.run)\(style)\" points=\"\(places.joined(separator: " "))\"/>"
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
struct Axis {
    let range: ClosedRange<Double>
    let ticks: [Double]
    private let isLogarithmic: Bool

    init(_ values: ClosedRange<Double>, isLogarithmic: Bool) {
        self.isLogarithmic = isLogarithmic
        if isLogarithmic {
            // A little room above and below, and marks at 1, 2 and 5 times powers of ten.
            let (low, high) = (values.lowerBound * 0.95, values.upperBound * 1.05)
            range = low...high
            let exponents = Int(log10(low).rounded(.down))...Int(log10(high).rounded(.up))
            let many = exponents.count > 4
            ticks = exponents.flatMap { exponent in
                (many ? [1.0] : [1.0, 2.0, 5.0]).map { $0 * pow(10, Double(exponent)) }
            }
            .filter(range.contains)
        } else {
            let spread = values.upperBound - values.lowerBound
            let margin = spread > 0 ? spread * 0.03 : max(abs(values.lowerBound) * 0.1, 1e-9)
            let low = values.lowerBound >= 0 ? max(0, values.lowerBound - margin) : values.lowerBound - margin
            range = low...values.upperBound + margin
            // Five steps or so of 1, 2 or 5 times a power of ten.
            let raw = (range.upperBound - range.lowerBound) / 5
            let power = pow(10, log10(raw).rounded(.down))
            let step = ([1, 2, 5].first { $0 * power >= raw } ?? 10) * power
            let first = (range.lowerBound / step).rounded(.up)
            let last = (range.upperBound / step).rounded(.down)
            ticks = first <= last ? stride(from: first, through: last, by: 1).map { $0 * step } : []
        }
    }

    /// Where a value lies in the range: 0 at its begin, 1 at its end.
    func fraction(_ value: Double) -> Double {
        func scaled(_ value: Double) -> Double { isLogarithmic ? log(value) : value }
        return (scaled(value) - scaled(range.lowerBound)) / (scaled(range.upperBound) - scaled(range.lowerBound))
    }

    /// 0.0005, 12.5, 3k, 2.5M, 1e-07.
    static func label(_ value: Double) -> String {
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

enum HTML {
    /// Text that is text and nothing else, between tags and in quoted attributes.
    static func escaped(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            // Control characters are no text of HTML; a replacement shows that there was one.
            case "\u{00}"..."\u{08}", "\u{0B}", "\u{0C}", "\u{0E}"..."\u{1F}", "\u{7F}"..."\u{9F}":
                escaped += "\u{FFFD}"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
