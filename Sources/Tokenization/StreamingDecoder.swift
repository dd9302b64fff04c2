/// The state of decoding a text id by id.
public protocol DecodingStream: Sendable {
    /// The text that is settled with the next id: whole characters, often none.
    mutating func append(_ id: Int) -> String
    /// The text that was held back. The stream is then at the beginning of a new text.
    mutating func finish() -> String
}

/// Text as it is generated, token by token.
///
/// Each piece is valid text: a character whose bytes come in several tokens appears with the last of them. All pieces
/// together are exactly what `Tokenizer.decode` gives for all the ids.
public struct StreamingDecoder: Sendable {
    private var stream: any DecodingStream

    /// Begins a text. `skipSpecialTokens` leaves BOS, EOS and their like out of it.
    public init(tokenizer: any Tokenizer, skipSpecialTokens: Bool) {
        stream = tokenizer.makeDecodingStream(skipSpecialTokens: skipSpecialTokens)
    }

    /// The text that the next id adds: whole characters, often none.
    public mutating func append(_ id: Int) -> String { stream.append(id) }

    /// The text that was held back, waiting for bytes that did not come. The decoder then begins anew.
    public mutating func finish() -> String { stream.finish() }
}

/// Decodes everything again for every id, and gives what is new.
struct RedecodingStream: DecodingStream {
    let tokenizer: any Tokenizer
    let skipSpecialTokens: Bool
    private var ids: [Int] = []
    private var given: [UInt8] = []

    init(tokenizer: any Tokenizer, skipSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        self.skipSpecialTokens = skipSpecialTokens
    }

    mutating func append(_ id: Int) -> String {
        ids.append(id)
        var text = Array(tokenizer.decode(ids, skipSpecialTokens: skipSpecialTokens).utf8)
        // A replacement character at the end may be a character that is not complete yet.
        let replacement = Array("\u{FFFD}".utf8)
        while text.suffix(replacement.count).elementsEqual(replacement) { text.removeLast(replacement.count) }
        guard text.count > given.count, text.starts(with: given) else { return "" }
        defer { given = text }
        return String(decoding: text[given.count...], as: UTF8.self)
    }

    mutating func finish() -> String {
        let text = Array(tokenizer.decode(ids, skipSpecialTokens: skipSpecialTokens).utf8)
        defer { (ids, given) = ([], []) }
        return String(decoding: text.dropFirst(given.count), as: UTF8.self)
    }
}
