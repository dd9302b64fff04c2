/// The added tokens of a tokenizer, by id and by content, with what finds them in a text.
struct AddedTokens: Sendable {
    /// Finds the tokens that are looked for in the text as given.
    let verbatim: AddedTokenMatcher
    /// Finds the tokens that are looked for in the normalized text.
    let normalized: AddedTokenMatcher
    private let tokens: [Int: AddedToken]
    private let ids: [[UInt8]: Int]

    /// One more than the largest id.
    let upperBound: Int

    /// Tokens that are matched in text by their content; those that are looked for in normalized text by theirs,
    /// normalized. Where two match alike, a special token wins, then the earlier one.
    init(_ tokens: [AddedToken], normalizer: Normalizer?) {
        let ordered = tokens.filter(\.isSpecial) + tokens.filter { !$0.isSpecial }
        let verbatim = AddedTokenMatcher(ordered.filter { !$0.isNormalized }.map { (Array($0.content.utf8), $0) })
        let normalized = AddedTokenMatcher(
            ordered.filter(\.isNormalized).map { token in
                var pattern = Array(token.content.utf8)
                normalizer?.normalize(&pattern)
                return (pattern, token)
            }
        )
        self.init(verbatim: verbatim, normalized: normalized, tokens: tokens)
    }

    /// Tokens that are known by id, but found in text only as far as `normalized` finds them.
    init(verbatim: AddedTokenMatcher, normalized: AddedTokenMatcher, tokens: [AddedToken]) {
        self.verbatim = verbatim
        self.normalized = normalized
        self.tokens = Dictionary(tokens.map { ($0.id, $0) }) { $1 }
        ids = Dictionary(tokens.map { (Array($0.content.utf8), $0.id) }) { $1 }
        upperBound = tokens.map { $0.id + 1 }.max() ?? 0
    }

    subscript(id: Int) -> AddedToken? { tokens[id] }

    func id(of content: String) -> Int? { ids[Array(content.utf8)] }
}
