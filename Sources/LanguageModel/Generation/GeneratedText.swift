import Tokenization

/// The text of a sequence as its tokens come, up to the first stop string. Its buffers are kept from token to token.
struct GeneratedText {
    /// True once a stop string has come.
    var isStopped: Bool { filter.isStopped }

    private var decoder: StreamingDecoder
    private var filter: StopStringFilter

    /// - Parameter prompt: tokens that the text continues; without them it stands alone. (Some tokenizers drop the space
    ///   before the first token of a text.)
    init(after prompt: [Int] = [], tokenizer: any Tokenizer, stopStrings: [String]) {
        decoder = StreamingDecoder(tokenizer: tokenizer, skipSpecialTokens: true)
        for token in prompt { _ = decoder.append(token) }
        filter = StopStringFilter(stopStrings)
    }

    /// The text that is settled with the next token, often none.
    mutating func append(_ token: Int) -> String { filter.append(decoder.append(token)) }

    /// The text that was held back.
    mutating func finish() -> String {
        isStopped ? "" : filter.append(decoder.finish()) + filter.finish()
    }
}

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
        held.append(contentsOf: text.utf8)
        for start in held.indices {
            if stopStrings.contains(where: { matches($0, at: start, whole: true) }) {
                isStopped = true
                defer { held.removeAll() }
                return String(decoding: held[..<start], as: UTF8.self)
            }
            // Stop strings and text are whole characters, so a common piece begins where one does.
            if stopStrings.contains(where: { matches($0, at: start, whole: false) }) { return release(start) }
        }
        return release(held.count)
    }

    /// The text that was held back.
    mutating func finish() -> String { release(held.count) }

    /// Whether a stop string, or with `whole` false as much of it as there is text for, stands at `start`.
    private func matches(_ stopString: [UInt8], at start: Int, whole: Bool) -> Bool {
        let count = held.count - start
        guard whole ? count >= stopString.count : count < stopString.count else { return false }
        for index in 0..<min(count, stopString.count) where held[start + index] != stopString[index] { return false }
        return true
    }

    private mutating func release(_ count: Int) -> String {
        guard count > 0 else { return "" }
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }
}
