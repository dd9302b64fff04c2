import Foundation

/// Figures with their units, as people read them.
enum Quantity {
    /// Bytes in decimal units, as checkpoints are spoken of: 999 B, 1.3 MB, 13.5 GB.
    static func bytes(_ count: Int) -> String {
        scaled(Double(count), wholeUnit: "B", units: ["kB", "MB", "GB", "TB"])
    }

    /// Parameters, tokens: 512, 260.0 k, 6.7 G.
    static func count(_ count: Int) -> String {
        scaled(Double(count), wholeUnit: "", units: ["k", "M", "G", "T"])
    }

    /// Time in two units at most: 4.2 s, 42 s, 2 min 14 s, 1 h 02 min, 3 d 04 h.
    static func duration(_ duration: Duration) -> String {
        self.duration(seconds: duration / .seconds(1))
    }

    /// As ``duration(_:)``, for a number of seconds that may be infinite.
    static func duration(seconds: Double) -> String {
        let seconds = max(0, seconds)
        if seconds < 9.95 { return fixed(seconds, digits: 1) + " s" }
        guard seconds < 1e9 else { return "more than 30 years" }
        let whole = Int(seconds.rounded())
        switch whole {
        case ..<60: return "\(whole) s"
        case ..<3600: return "\(whole / 60) min \(twoDigits(whole % 60)) s"
        case ..<86_400: return "\(whole / 3600) h \(twoDigits(whole % 3600 / 60)) min"
        default: return "\(whole / 86_400) d \(twoDigits(whole % 86_400 / 3600)) h"
        }
    }

    /// Something per second, three significant digits: 0.042, 2.31, 48.1, 1,204.
    static func rate(_ perSecond: Double) -> String {
        guard perSecond.isFinite, perSecond > 0 else { return "0" }
        switch perSecond {
        case ..<0.0095: return String(format: "%.2g", locale: posix, perSecond)
        case ..<0.995: return fixed(perSecond, digits: 3)
        case ..<9.995: return fixed(perSecond, digits: 2)
        case ..<99.95: return fixed(perSecond, digits: 1)
        default: return grouped(Int(min(perSecond, 1e15).rounded()))
        }
    }

    /// A whole number with thousands separated: 22,803.
    static func grouped(_ value: Int) -> String {
        let digits = String(value.magnitude)
        var text = value < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return text
    }

    /// A number with `digits` decimals, the same in every locale.
    static func fixed(_ value: Double, digits: Int) -> String {
        String(format: "%.\(digits)f", locale: posix, value)
    }

    private static let posix = Locale(identifier: "en_US_POSIX")

    private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }

    private static func scaled(_ value: Double, wholeUnit: String, units: [String]) -> String {
        guard abs(value) >= 1000 else { return trimmed("\(Int(value)) \(wholeUnit)") }
        var scaled = value / 1000
        var unit = 0
        // 999,950 would print as 1000.0 kB.
        while abs(scaled) >= 999.95, unit + 1 < units.count {
            scaled /= 1000
            unit += 1
        }
        return "\(fixed(scaled, digits: 1)) \(units[unit])"
    }

    private static func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .whitespaces) }
}
