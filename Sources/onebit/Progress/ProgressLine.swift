/// What a progress meter shows at one moment, and how it is written.
struct ProgressLine {
    /// What is being done: "distil".
    var label: String
    /// Units done, those of an earlier run that is being resumed included.
    var done: Int
    /// Units in all, where known.
    var total: Int?
    /// Name of the units: "steps".
    var unit: String
    /// Units per second, where enough time has passed to say.
    var rate: Double?
    /// Time since the meter started.
    var elapsed: Duration = .zero
    /// What else is worth seeing: "loss 3.21".
    var note = ""

    private static let widestBar = 30
    private static let narrowestBar = 8

    /// One line for a terminal of `width` columns, never wider than `width - 1`: a full line would wrap.
    ///
    /// When room is short the bar shrinks, then goes; then the rate, the note and the label's end go.
    func terminalText(width: Int) -> String {
        let room = max(0, width - 1)
        let wanted = [count, speed, remaining, note].compactMap(\.self).filter { !$0.isEmpty }
        let essential = [count, remaining].compactMap(\.self)
        for details in [wanted, wanted.filter { $0 != note }, essential] {
            let text = "\(label)  " + details.joined(separator: "  ")
            guard text.count <= room else { continue }
            let barRoom = room - text.count - 4  // two brackets and two spaces
            guard let fraction, barRoom >= Self.narrowestBar else { return text }
            let bar = Self.bar(fraction: fraction, width: min(barRoom, Self.widestBar))
            return "\(label)  \(bar)  " + details.joined(separator: "  ")
        }
        return String("\(label) \(count)".prefix(room))
    }

    /// One line for a log file.
    var plainText: String {
        let details = [count, speed, remaining, note].compactMap(\.self).filter { !$0.isEmpty }
        return "\(label): " + details.joined(separator: ", ")
    }

    /// The line that stays when the work is over. `done` is what this run did and an earlier one had done.
    var finalText: String {
        let details = ["\(Quantity.grouped(done)) \(unit) in \(Quantity.duration(elapsed))", speed, note]
        return "\(label): " + details.compactMap(\.self).filter { !$0.isEmpty }.joined(separator: ", ")
    }

    /// Between 0 and 1, where the total is known.
    private var fraction: Double? {
        guard let total, total > 0 else { return nil }
        return min(1, max(0, Double(done) / Double(total)))
    }

    private var count: String {
        guard let total, let fraction else { return "\(Quantity.grouped(done)) \(unit)" }
        // Rounded down: 100 % means done.
        return "\(Int(fraction * 100)) %  \(Quantity.grouped(done))/\(Quantity.grouped(total)) \(unit)"
    }

    private var speed: String? {
        rate.map { "\(Quantity.rate($0)) \(unit)/s" }
    }

    private var remaining: String? {
        guard let total, let rate, rate > 0, done < total else { return nil }
        return "ETA \(Quantity.duration(seconds: Double(total - done) / rate))"
    }

    private static func bar(fraction: Double, width: Int) -> String {
        let full = Int(fraction * Double(width))
        return "[" + String(repeating: "#", count: full) + String(repeating: "-", count: width - full) + "]"
    }
}
