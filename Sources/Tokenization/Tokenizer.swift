// Tokenization: text to ids and back, as Hugging Face's tokenizers do it, and the formats of conversations. May import JSON
// and SwiftProtobuf.

/// Text to token ids and back.
public protocol Tokenizer: Sendable {
    /// Number of ids, added tokens included: one more than the largest.
    var vocabularySize: Int { get }
    /// Id that opens a sequence, where the tokenizer has one.
    var beginOfSequence: Int? { get }
    /// Id that closes a sequence, where the tokenizer has one.
    var endOfSequence: Int? { get }

    /// Token ids of `text`; with `addSpecialTokens` the ones that the post-processor adds (a BOS, say) too.
    ///
    /// - Throws: `TokenizerError.expressionFailed` where a regular expression of the tokenizer's file takes too long on the
    ///   text: no ids are given rather than wrong ones. `CancellationError` once the task is cancelled.
    func encode(_ text: String, addSpecialTokens: Bool) throws -> [Int]
    /// Token ids of a prompt, with nothing around it: special tokens are found in what its template wrote, and in nothing
    /// else.
    ///
    /// - Throws: what `encode(_:addSpecialTokens:)` throws.
    func encode(_ parts: [PromptPart]) throws -> [Int]
    /// Text of `ids`. Bytes that are not valid UTF-8 become U+FFFD; ids that no token has are left out.
    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String
    /// The id of a whole token, as the vocabulary spells it.
    func id(of token: String) -> Int?
    /// The token of an id, as the vocabulary spells it.
    func token(of id: Int) -> String?
    /// Decodes id by id. What its calls return, put together, is what `decode` returns for all the ids.
    func makeDecodingStream(skipSpecialTokens: Bool) -> any DecodingStream
}

extension Tokenizer {
    /// A stream that decodes all ids again for each: for tokenizers that bring no stream of their own.
    public func makeDecodingStream(skipSpecialTokens: Bool) -> any DecodingStream {
        RedecodingStream(tokenizer: self, skipSpecialTokens: skipSpecialTokens)
    }
}

/// A part of a prompt that is put together of a template's text and untrusted text.
public enum PromptPart: Sendable, Hashable {
    /// Text in which special tokens are found: what a template wrote itself.
    case template(String)
    /// Text in which nothing counts as a special token, whatever it spells.
    case text(String)

    /// The part's spelling.
    public var content: String {
        switch self {
        case .template(let content), .text(let content): content
        }
    }

    var isTemplate: Bool { if case .template = self { true } else { false } }
}

extension Tokenizer {
    /// Ids of a prompt, with nothing around it. This one serves tokenizers that have no special tokens: the others have to
    /// bring their own.
    public func encode(_ parts: [PromptPart]) throws -> [Int] {
        try encode(parts.map(\.content).joined(), addSpecialTokens: false)
    }
}

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
