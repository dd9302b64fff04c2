import Foundation

/// The time that `strftime_now` writes, which stands still while a template is rendered.
public struct Clock: Sendable, Hashable {
    public var date: Date
    public var timeZone: TimeZone

    public init(date: Date = .now, timeZone: TimeZone = .current) {
        self.date = date
        self.timeZone = timeZone
    }

    private static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]

    /// Python's `datetime.now().strftime(format)` in the C locale, whatever the locale of the program is. A time without a
    /// zone, so `%z` and `%Z` write nothing.
    func formatted(_ format: TemplateString) -> TemplateString {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = timeZone
        let time = Time(date, calendar)
        var result = TemplateString()
        var position = 0
        while position < format.count {
            let origin = format.origin(at: position)
            guard format.codePoints[position] == 0x25, position + 1 < format.count else {
                result.append(format.codePoints[position], origin: origin)
                position += 1
                continue
            }
            var end = position + 1
            let flag = Unicode.Scalar(format.codePoints[end]).map(Character.init)
            if let flag, "-_0^#".contains(flag), end + 1 < format.count { end += 1 }
            let directive = Unicode.Scalar(format.codePoints[end]).map(Character.init)
            if let directive, let text = time.field(directive, flag: end > position + 1 ? flag : nil) {
                result.append(text, origin: origin)
            } else {
                result.append(format, range: position..<end + 1)
            }
            position = end + 1
        }
        return result
    }

    /// A time in its parts.
    private struct Time {
        let year, month, day, hour, minute, second, microsecond, weekday, yearDay: Int
        let seconds: Int
        let isoYear, isoWeek: Int

        init(_ date: Date, _ calendar: Calendar) {
            let parts = calendar.dateComponents(
                [.year, .month, .day, .hour, .minute, .second, .nanosecond, .weekday], from: date)
            year = parts.year ?? 1
            month = parts.month ?? 1
            day = parts.day ?? 1
            hour = parts.hour ?? 0
            minute = parts.minute ?? 0
            second = parts.second ?? 0
            microsecond = (parts.nanosecond ?? 0) / 1000
            weekday = (parts.weekday ?? 1) - 1
            yearDay = (calendar.ordinality(of: .day, in: .year, for: date) ?? 1) - 1
            seconds = Int(date.timeIntervalSince1970.rounded(.down))
            var iso = Calendar(identifier: .iso8601)
            iso.timeZone = calendar.timeZone
            isoYear = iso.component(.yearForWeekOfYear, from: date)
            isoWeek = iso.component(.weekOfYear, from: date)
        }

        private var hourOf12: Int { hour % 12 == 0 ? 12 : hour % 12 }

        /// What stands for `%directive`; nil for one that there is not.
        func field(_ directive: Character, flag: Character?) -> String? {
            if let number = number(directive) { return number.padded(flag: flag) }
            guard let text = text(directive) ?? composite(directive) else { return nil }
            return switch flag {
            case "^": text.uppercased()
            case "#": directive == "p" ? text.lowercased() : text.uppercased()
            default: text
            }
        }

        private struct PaddedNumber {
            let value: Int
            let width: Int
            var padding: Character = "0"

            func padded(flag: Character?) -> String {
                let padding = flag == "_" ? " " : flag == "0" ? "0" : padding
                let text = String(value)
                if flag == "-" { return text }
                return String(repeating: padding, count: max(0, width - text.count)) + text
            }
        }

        private func number(_ directive: Character) -> PaddedNumber? {
            switch directive {
            case "d": PaddedNumber(value: day, width: 2)
            case "e": PaddedNumber(value: day, width: 2, padding: " ")
            case "m": PaddedNumber(value: month, width: 2)
            case "y": PaddedNumber(value: year % 100, width: 2)
            case "Y": PaddedNumber(value: year, width: 1)
            case "C": PaddedNumber(value: year / 100, width: 2)
            case "H": PaddedNumber(value: hour, width: 2)
            case "k": PaddedNumber(value: hour, width: 2, padding: " ")
            case "I": PaddedNumber(value: hourOf12, width: 2)
            case "l": PaddedNumber(value: hourOf12, width: 2, padding: " ")
            case "M": PaddedNumber(value: minute, width: 2)
            case "S": PaddedNumber(value: second, width: 2)
            case "f": PaddedNumber(value: microsecond, width: 6)
            case "j": PaddedNumber(value: yearDay + 1, width: 3)
            case "w": PaddedNumber(value: weekday, width: 1)
            case "u": PaddedNumber(value: weekday == 0 ? 7 : weekday, width: 1)
            case "U": PaddedNumber(value: (yearDay + 7 - weekday) / 7, width: 2)
            case "W": PaddedNumber(value: (yearDay + 7 - (weekday + 6) % 7) / 7, width: 2)
            case "V": PaddedNumber(value: isoWeek, width: 2)
            case "G": PaddedNumber(value: isoYear, width: 4)
            case "g": PaddedNumber(value: isoYear % 100, width: 2)
            case "s": PaddedNumber(value: seconds, width: 1)
            default: nil
            }
        }

        private func text(_ directive: Character) -> String? {
            switch directive {
            case "a": String(Clock.weekdays[weekday].prefix(3))
            case "A": Clock.weekdays[weekday]
            case "b", "h": String(Clock.months[month - 1].prefix(3))
            case "B": Clock.months[month - 1]
            case "p": hour < 12 ? "AM" : "PM"
            case "P": hour < 12 ? "am" : "pm"
            case "n": "\n"
            case "t": "\t"
            case "%": "%"
            case "z", "Z": ""
            default: nil
            }
        }

        /// Directives that stand for several others.
        private func composite(_ directive: Character) -> String? {
            let directives: String? =
                switch directive {
                case "D", "x": "m/d/y"
                case "F": "Y-m-d"
                case "R": "H:M"
                case "T", "X": "H:M:S"
                case "r": "I:M:S p"
                case "c": "a b e H:M:S Y"
                default: nil
                }
            return directives?.map { $0.isLetter ? field($0, flag: nil) ?? "" : String($0) }.joined()
        }
    }
}
