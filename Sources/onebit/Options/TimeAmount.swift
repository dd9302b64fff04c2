import ArgumentParser

/// A time on the command line: a number with s, m, h or d, or several of them.
struct TimeAmount: ExpressibleByArgument {
    let seconds: Double

    init?(argument: String) {
        let pattern = /(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d)/
        var rest = Substring(argument.lowercased())
        var seconds = 0.0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            guard let match = rest.prefixMatch(of: pattern), let number = Double(match.1) else { return nil }
            let unit: Double =
                switch match.2 {
                case "s", "sec": 1
                case "m", "min": 60
                case "h": 3600
                default: 86_400
                }
            seconds += number * unit
            rest = rest[match.range.upperBound...].drop(while: \.isWhitespace)
        }
        guard seconds > 0, seconds <= 1e10 else { return nil }  // three centuries
        self.seconds = seconds
    }
}
