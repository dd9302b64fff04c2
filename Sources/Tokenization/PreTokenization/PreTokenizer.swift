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
