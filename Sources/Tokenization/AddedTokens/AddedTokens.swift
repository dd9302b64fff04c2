/// The added tokens of a tokenizer, by id and by content, with what finds them in a text.
struct AddedTokens: Sendable {
    /// Finds the tokens that are looked for in the text as given.
    let verbatim: AddedTokenMatcher
    /// Finds the tokens that are looked for in the normalized text.
    let normalized: AddedTokenMatcher
    /// Those of the two that are no special tokens: what is found in texts of others.
    let verbatimWords: AddedTokenMatcher
    let normalizedWords: AddedTokenMatcher
    private let entries: [Int: (token: AddedToken, spelling: [UInt8])]
    private let ids: [[UInt8]: Int]

    /// One more than the largest id.
    let upperBound: Int

    /// Tokens and their spellings, by which they are found in text and decoded: the content, normalized for those that are
    /// looked for in normalized text. Where two match alike, a special token wins, then the earlier one.
    init(_ tokens: [(token: AddedToken, spelling: [UInt8])]) {
        let ordered = tokens.filter(\.token.isSpecial) + tokens.filter { !$0.token.isSpecial }
        let patterns = ordered.map { (pattern: $0.spelling, token: $0.token) }
        self.init(
            verbatim: patterns.filter { !$0.token.isNormalized },
            normalized: patterns.filter(\.token.isNormalized),
            tokens: ordered
        )
    }

    /// Tokens that are known by id, but found in text only by the patterns.
    init(
        verbatim: [(pattern: [UInt8], token: AddedToken)],
        normalized: [(pattern: [UInt8], token: AddedToken)],
        tokens: [(token: AddedToken, spelling: [UInt8])]
    ) {
        self.verbatim = AddedTokenMatcher(verbatim)
        self.normalized = AddedTokenMatcher(normalized)
        verbatimWords = AddedTokenMatcher(verbatim.filter { !$0.token.isSpecial })
        normalizedWords = AddedTokenMatcher(normalized.filter { !$0.token.isSpecial })
        entries = Dictionary(tokens.map { ($0.token.id, $0) }) { $1 }
        ids = Dictionary(tokens.map { (Array($0.token.content.utf8), $0.token.id) }) { $1 }
        upperBound = tokens.map { $0.token.id + 1 }.max() ?? 0
    }

    /// The token of an id, and how it stands in text.
    subscript(id: Int) -> (token: AddedToken, spelling: [UInt8])? { entries[id] }

    func id(of content: String) -> Int? { ids[Array(content.utf8)] }
}
