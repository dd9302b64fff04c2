/// A token that is found in the text before the model sees it: special tokens, and words added after training.
struct AddedToken: Sendable, Hashable {
    var id: Int
    let content: String
    /// Found only where no word character touches it.
    var isSingleWord = false
    /// Takes the white space before it along.
    var stripsLeft = false
    /// Takes the white space after it along.
    var stripsRight = false
    /// Looked for in the normalized text, not in the text as given.
    var isNormalized = false
    /// Left out of decoded text on request.
    var isSpecial = true
}

/// The added tokens of a tokenizer, by id and by content, with what finds them in a text.
struct AddedTokens: Sendable {
    /// Finds the tokens that are looked for in the text as given.
    let verbatim: AddedTokenMatcher
    /// Finds the tokens that are looked for in the normalized text.
    let normalized: AddedTokenMatcher
    /// Those of the two that are no special tokens: what is found in untrusted text.
    let verbatimWords: AddedTokenMatcher
    let normalizedWords: AddedTokenMatcher
    /// Finds the special tokens by their contents, in text that a template wrote.
    private let special: AddedTokenMatcher
    private let entries: [Int: (token: AddedToken, spelling: [UInt8])]
    private let ids: [[UInt8]: Int]

    /// One more than the largest id.
    let upperBound: Int

    /// Tokens and their spellings, by which they are found in text and decoded: the content, normalized for those that are
    /// looked for in normalized text. Where two match alike, a special token wins, then the earlier one.
    init(_ tokens: [(token: AddedToken, spelling: [UInt8])]) {
        let ordered = tokens.filter(\.token.isSpecial) + tokens.filter { !$0.token.isSpecial }
        let normalized = ordered.filter(\.token.isNormalized)
        let verbatim = ordered.filter { !$0.token.isNormalized }
        self.verbatim = AddedTokenMatcher(verbatim)
        self.normalized = AddedTokenMatcher(normalized)
        verbatimWords = AddedTokenMatcher(verbatim.filter { !$0.token.isSpecial })
        normalizedWords = AddedTokenMatcher(normalized.filter { !$0.token.isSpecial })
        special = AddedTokenMatcher(
            ordered.filter(\.token.isSpecial).map { token, _ in (token, Array(token.content.utf8)) })
        entries = Dictionary(ordered.map { ($0.token.id, $0) }) { $1 }
        ids = Dictionary(ordered.map { (Array($0.token.content.utf8), $0.token.id) }) { $1 }
        upperBound = ordered.map { $0.token.id + 1 }.max() ?? 0
    }

    /// The token of an id, and how it stands in text.
    subscript(id: Int) -> (token: AddedToken, spelling: [UInt8])? { entries[id] }

    func id(of content: String) -> Int? { ids[Array(content.utf8)] }

    /// A part of a text that a template wrote.
    enum TemplatePiece {
        case text(String)
        case token(AddedToken)
    }

    /// The special tokens of a text that a template wrote, and what is between them.
    func specialPieces(of text: String) -> [TemplatePiece] {
        Array(text.utf8).withUnsafeBufferPointer { bytes in
            special.split(bytes).map { part in
                switch part {
                case .token(let token): .token(token)
                case .text(let range): .text(String(decoding: bytes[range], as: UTF8.self))
                }
            }
        }
    }
}

/// Finds added tokens in a text: the leftmost first, and of those that begin together the longest.
struct AddedTokenMatcher: Sendable {
    /// A part of the text: a token, or what lies between tokens.
    enum Part: Equatable {
        case text(Range<Int>)
        case token(AddedToken)
    }

    /// Patterns longer than this are refused when a tokenizer is read: a search takes time in proportion.
    static let maximumPatternBytes = 1024
    /// More bytes of patterns than this are refused: each takes some fifty bytes of memory.
    static let maximumTotalBytes = 4 << 20

    private var tokens: [AddedToken] = []
    /// The trie's edges: node and byte to node. Node 0 is the root.
    private var edges: [UInt64: Int] = [:]
    /// Index in `tokens` of the pattern that ends at a node, or −1.
    private var ends: [Int] = [-1]
    private var startsPattern = [Bool](repeating: false, count: 256)

    /// Finds each token by its spelling: its content as given, or normalized. Of equal spellings the first counts.
    init(_ patterns: [(token: AddedToken, spelling: [UInt8])]) {
        for (token, spelling) in patterns where !spelling.isEmpty {
            var node = 0
            for byte in spelling {
                let edge = Self.edge(from: node, by: byte)
                if let next = edges[edge] {
                    node = next
                } else {
                    node = ends.count
                    edges[edge] = node
                    ends.append(-1)
                }
            }
            guard ends[node] < 0 else { continue }
            ends[node] = tokens.count
            tokens.append(token)
            startsPattern[Int(spelling[0])] = true
        }
    }

    /// The parts of `text` in order, none of them empty.
    func split(_ text: UnsafeBufferPointer<UInt8>) -> [Part] {
        guard !tokens.isEmpty else { return text.isEmpty ? [] : [.text(0..<text.count)] }
        var parts: [Part] = []
        var partStart = 0
        var position = 0
        // Where the white space ends that was walked over last: tokens inside it need not walk again.
        var whitespaceEnd = 0
        while position < text.count {
            guard startsPattern[Int(text[position])], let (token, end) = longestMatch(in: text, at: position) else {
                position += 1
                continue
            }
            let matchStart = position
            position = end
            if token.isSingleWord, !standsAlone(matchStart..<end, in: text) { continue }
            var start = matchStart
            var stop = end
            if token.stripsLeft {
                while start > partStart {
                    let (scalar, length) = utf8Scalar(in: text, before: start)
                    guard scalar.properties.isWhitespace else { break }
                    start -= length
                }
            }
            if token.stripsRight {
                stop = max(stop, whitespaceEnd)
                while stop < text.count {
                    let (scalar, length) = utf8Scalar(in: text, at: stop)
                    guard scalar.properties.isWhitespace else { break }
                    stop += length
                }
                whitespaceEnd = stop
            }
            if partStart < start { parts.append(.text(partStart..<start)) }
            parts.append(.token(token))
            partStart = stop
        }
        if partStart < text.count { parts.append(.text(partStart..<text.count)) }
        return parts
    }

    private static func edge(from node: Int, by byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }

    private func longestMatch(in text: UnsafeBufferPointer<UInt8>, at start: Int) -> (token: AddedToken, end: Int)? {
        var node = 0
        var position = start
        var longest: (AddedToken, Int)?
        while position < text.count, let next = edges[Self.edge(from: node, by: text[position])] {
            node = next
            position += 1
            if ends[node] >= 0 { longest = (tokens[ends[node]], position) }
        }
        return longest
    }

    private func standsAlone(_ range: Range<Int>, in text: UnsafeBufferPointer<UInt8>) -> Bool {
        if range.lowerBound > 0, isWordCharacter(utf8Scalar(in: text, before: range.lowerBound).scalar) { return false }
        return range.upperBound == text.count || !isWordCharacter(utf8Scalar(in: text, at: range.upperBound).scalar)
    }

    /// A regular expression's `\w`, by Unicode's Technical Standard 18: letters, marks, digits, connectors and joiners.
    private func isWordCharacter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .decimalNumber, .connectorPunctuation, .nonspacingMark, .spacingMark, .enclosingMark: true
        default: scalar.properties.isAlphabetic || scalar.properties.isJoinControl
        }
    }
}
