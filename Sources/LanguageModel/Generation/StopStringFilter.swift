/// Lets text through up to the first stop string, holding back what may be the beginning of one.
struct StopStringFilter {
    /// True once a stop string has come; nothing is let through any more.
    private(set) var isStopped = false

    private let stopStrings: [[UInt8]]
    private var held: [UInt8] = []

    init(_ stopStrings: [String]) {
        self.stopStrings = stopStrings.filter { !$0.isEmpty }.map { Array($0.utf8) }
    }

    /// The text that is settled with `text`.
    mutating func append(_ text: String) -> String {
        guard !isStopped else { return "" }
        guard !stopStrings.isEmpty else { return text }
        held += text.utf8
        for start in held.indices {
            let rest = held[start...]
            if stopStrings.contains(where: { rest.starts(with: $0) }) {
                isStopped = true
                defer { held = [] }
                return String(decoding: held[..<start], as: UTF8.self)
            }
            // Stop strings and text are whole characters, so a common piece begins where one does.
            if stopStrings.contains(where: { $0.starts(with: rest) }) { return release(start) }
        }
        return release(held.count)
    }

    /// The text that was held back.
    mutating func finish() -> String { release(held.count) }

    private mutating func release(_ count: Int) -> String {
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }
}
