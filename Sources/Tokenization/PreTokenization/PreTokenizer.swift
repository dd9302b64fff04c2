/// A text and the pieces that it was cut into so far.
struct PreTokenizedText {
    var bytes: [UInt8]
    var pieces: [Range<Int>]
    /// Whether the first byte is the first of the whole text, with no added token before it.
    let startsText: Bool

    init(_ bytes: [UInt8], startsText: Bool) {
        self.bytes = bytes
        pieces = bytes.isEmpty ? [] : [0..<bytes.count]
        self.startsText = startsText
    }
}

/// Cuts a normalized text into the words that the model works on one by one.
indirect enum PreTokenizer: Sendable {
    case sequence([PreTokenizer])
    case split(SearchPattern, SplitBehavior, inverted: Bool)
    /// Byte-level words. The bytes stay as they are: `BytePairModel` knows how its vocabulary spells them.
    case byteLevel(addsPrefixSpace: Bool, splitsWords: Bool)
    case metaspace(Metaspace, splits: Bool)
    /// Numbers apart from everything else, in runs or digit by digit.
    case digits(individually: Bool)

    /// - Throws: what `SearchPattern.forEachMatch` throws.
    func apply(to text: inout PreTokenizedText) throws {
        switch self {
        case .sequence(let steps):
            for step in steps { try step.apply(to: &text) }
        case .split(let pattern, let behavior, let inverted):
            try Self.split(&text, by: pattern, behavior, inverted: inverted)
        case .byteLevel(let addsPrefixSpace, let splitsWords):
            if addsPrefixSpace { Self.prependSpaces(to: &text) }
            if splitsWords { try Self.split(&text, by: .gpt2Words, .isolated, inverted: false) }
        case .metaspace(let metaspace, let splits):
            metaspace.apply(to: &text)
            if splits { try Self.split(&text, by: .literal(metaspace.replacement), .mergedWithNext, inverted: false) }
        case .digits(let individually):
            Self.splitDigits(&text, individually: individually)
        }
    }

    private static func split(
        _ text: inout PreTokenizedText,
        by pattern: SearchPattern,
        _ behavior: SplitBehavior,
        inverted: Bool
    ) throws {
        var pieces: [Range<Int>] = []
        pieces.reserveCapacity(text.bytes.count / 4)
        try text.bytes.withUnsafeBufferPointer { bytes in
            for piece in text.pieces {
                if behavior == .isolated {
                    // The usual case: match or not, every part is a piece.
                    var position = piece.lowerBound
                    try pattern.forEachMatch(in: bytes, range: piece) { match in
                        if position < match.lowerBound { pieces.append(position..<match.lowerBound) }
                        pieces.append(match)
                        position = match.upperBound
                    }
                    if position < piece.upperBound { pieces.append(position..<piece.upperBound) }
                } else {
                    var matches: [Range<Int>] = []
                    try pattern.forEachMatch(in: bytes, range: piece) { matches.append($0) }
                    behavior.appendPieces(of: piece, matches: matches, inverted: inverted, to: &pieces)
                }
            }
        }
        text.pieces = pieces
    }

    private static func prependSpaces(to text: inout PreTokenizedText) {
        let space = UInt8(ascii: " ")
        text.rewritePieces { piece, _, output in
            if piece.first != space { output.append(space) }
            output.append(contentsOf: piece)
        }
    }

    private static func splitDigits(_ text: inout PreTokenizedText, individually: Bool) {
        var pieces: [Range<Int>] = []
        text.bytes.withUnsafeBufferPointer { bytes in
            for piece in text.pieces {
                var position = piece.lowerBound
                var wasNumber: Bool?
                while position < piece.upperBound {
                    let (characterClass, length) = CharacterClass.at(position, of: bytes)
                    let isNumber = characterClass == .number
                    if isNumber == wasNumber, !(isNumber && individually), let last = pieces.popLast() {
                        pieces.append(last.lowerBound..<position + length)
                    } else {
                        pieces.append(position..<position + length)
                    }
                    wasNumber = isNumber
                    position += length
                }
            }
        }
        text.pieces = pieces
    }
}

extension PreTokenizedText {
    /// Writes every piece anew. `rewrite` appends the new bytes of a piece.
    mutating func rewritePieces(
        _ rewrite: (_ piece: ArraySlice<UInt8>, _ startsText: Bool, _ output: inout [UInt8]) -> Void
    ) {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + pieces.count)
        var rewritten: [Range<Int>] = []
        rewritten.reserveCapacity(pieces.count)
        for piece in pieces {
            let start = output.count
            rewrite(bytes[piece], startsText && piece.lowerBound == 0, &output)
            if start < output.count { rewritten.append(start..<output.count) }
        }
        bytes = output
        pieces = rewritten
    }
}

/// Spaces as visible characters: SentencePiece's "▁".
struct Metaspace: Sendable {
    /// Where a separator is put in front of a text that does not begin with one.
    enum PrependScheme: String, Sendable, CaseIterable {
        case always
        case first
        case never
    }

    /// The character that stands for a space, in UTF-8.
    let replacement: [UInt8]
    let scheme: PrependScheme

    func apply(to text: inout PreTokenizedText) {
        text.rewritePieces { piece, startsText, output in
            let start = output.count
            for byte in piece {
                if byte == UInt8(ascii: " ") { output.append(contentsOf: replacement) } else { output.append(byte) }
            }
            let prepends = scheme == .always || (scheme == .first && startsText)
            if prepends, !output[start...].starts(with: replacement) {
                output.insert(contentsOf: replacement, at: start)
            }
        }
    }
}

/// What becomes of the matches when a text is split by a pattern.
enum SplitBehavior: String, Sendable, CaseIterable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// Appends the pieces of `range`, of which `matches` are the parts that match, in order.
    func appendPieces(of range: Range<Int>, matches: [Range<Int>], inverted: Bool, to pieces: inout [Range<Int>]) {
        var spans: [(range: Range<Int>, isMatch: Bool)] = []
        spans.reserveCapacity(matches.count)
        var position = range.lowerBound
        for match in matches {
            if position < match.lowerBound { spans.append((position..<match.lowerBound, inverted)) }
            spans.append((match, !inverted))
            position = match.upperBound
        }
        if position < range.upperBound { spans.append((position..<range.upperBound, inverted)) }

        switch self {
        case .removed: for span in spans where !span.isMatch { pieces.append(span.range) }
        case .isolated: for span in spans { pieces.append(span.range) }
        case .contiguous: join(spans, into: &pieces) { $0 == $1 }
        case .mergedWithPrevious: join(spans, into: &pieces) { wasMatch, isMatch in isMatch && !wasMatch }
        case .mergedWithNext: join(spans, into: &pieces) { wasMatch, isMatch in wasMatch && !isMatch }
        }
    }

    /// Appends spans, joined with the one before where `joins(wasMatch, isMatch)` says so.
    private func join(
        _ spans: [(range: Range<Int>, isMatch: Bool)],
        into pieces: inout [Range<Int>],
        joins: (_ wasMatch: Bool, _ isMatch: Bool) -> Bool
    ) {
        var wasMatch: Bool?
        for span in spans {
            if let wasMatch, joins(wasMatch, span.isMatch), let last = pieces.popLast() {
                pieces.append(last.lowerBound..<span.range.upperBound)
            } else {
                pieces.append(span.range)
            }
            wasMatch = span.isMatch
        }
    }
}
