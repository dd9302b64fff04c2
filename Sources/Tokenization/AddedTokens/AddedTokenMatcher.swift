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

    /// Finds each token by its pattern: its content as given, or normalized. Of equal patterns the first counts.
    init(_ patterns: [(pattern: [UInt8], token: AddedToken)]) {
        for (pattern, token) in patterns where !pattern.isEmpty {
            var node = 0
            for byte in pattern {
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
            startsPattern[Int(pattern[0])] = true
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
