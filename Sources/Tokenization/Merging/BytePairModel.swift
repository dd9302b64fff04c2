/// Byte-pair encoding: a word is split into single characters or bytes, and neighbors merge in the order of the merges.
///
/// Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016); the details (byte fallback,
/// unknown tokens, ignored merges) as the reference implementation has them.
struct BytePairModel: Sendable {
    /// What a word consists of before the first merge.
    enum Unit: Sendable {
        /// Unicode scalars, each spelled in UTF-8.
        case scalars
        /// Bytes, each spelled as a character of `ByteAlphabet`.
        case bytes
    }

    /// What stands for a character that the vocabulary cannot spell.
    enum UnknownToken: Sendable {
        case id(Int)
        /// The file names a token that it does not have: what encoding throws where one is needed.
        case missing(TokenizerError)
    }

    let vocabulary: Vocabulary
    let merges: MergeTable
    let unit: Unit
    let unknown: UnknownToken?
    private let fusesUnknown: Bool
    let ignoresMerges: Bool
    /// Id of each single-byte unit, or −1: all bytes, or ASCII.
    private let byteIDs: [Int]
    /// Ids of the tokens "<0x00>"... that spell a scalar that the vocabulary lacks (−1 where one is missing); empty
    /// without byte fallback.
    let fallbackIDs: [Int]
    /// The word separator "▁", where no merge reaches across the beginning of a run of it. Then a text can be cut
    /// there, and what each part becomes does not depend on the others.
    private let separator: [UInt8]?

    init(
        vocabulary: Vocabulary,
        merges: MergeTable,
        unit: Unit,
        unknown: UnknownToken?,
        fusesUnknown: Bool,
        byteFallback: Bool,
        ignoresMerges: Bool
    ) {
        self.vocabulary = vocabulary
        self.merges = merges
        self.unit = unit
        self.unknown = unknown
        self.fusesUnknown = fusesUnknown
        self.ignoresMerges = ignoresMerges
        byteIDs =
            switch unit {
            case .bytes: ByteAlphabet.spellings.map { vocabulary.id(of: $0) ?? -1 }
            case .scalars: (0..<128).map { vocabulary.id(of: CollectionOfOne(UInt8($0))) ?? -1 }
            }
        fallbackIDs =
            byteFallback ? (UInt8.min...UInt8.max).map { vocabulary.id(of: Self.fallbackSpelling(of: $0)) ?? -1 } : []
        separator = unit == .scalars && !ignoresMerges ? Self.independentSeparator(vocabulary, merges) : nil
    }

    /// How byte fallback spells a byte: "<0x0A>".
    static func fallbackSpelling(of byte: UInt8) -> [UInt8] {
        let digits = Array("0123456789ABCDEF".utf8)
        return Array("<0x".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)], UInt8(ascii: ">")]
    }

    /// Appends the ids of the word `text`.
    ///
    /// - Throws: `TokenizerError` where the unknown token is needed and missing.
    func encode(_ text: UnsafeBufferPointer<UInt8>, with merger: inout WordMerger, into output: inout [Int]) throws {
        guard !text.isEmpty else { return }
        if ignoresMerges, let id = wholeWord(text) {
            output.append(id)
            return
        }
        guard let separator else {
            try encodePart(text, with: &merger, into: &output)
            return
        }
        var start = 0
        var isInsideRun = true
        var position = 0
        while position < text.count {
            let isSeparator = text[position] == separator[0] && text[position...].starts(with: separator)
            if isSeparator, !isInsideRun {
                try encodePart(UnsafeBufferPointer(rebasing: text[start..<position]), with: &merger, into: &output)
                start = position
            }
            isInsideRun = isSeparator
            position += isSeparator ? separator.count : 1
        }
        try encodePart(UnsafeBufferPointer(rebasing: text[start...]), with: &merger, into: &output)
    }

    private func encodePart(
        _ text: UnsafeBufferPointer<UInt8>,
        with merger: inout WordMerger,
        into output: inout [Int]
    ) throws {
        merger.removeAll()
        let unknown: Int? = if case .id(let id) = unknown { id } else { nil }
        // Neighbouring unknown characters become one unknown token where the model fuses them.
        var hasUnknown = false
        var position = 0
        while position < text.count {
            let length = unit == .bytes ? 1 : utf8Length(ofLeadingByte: text[position])
            let character = UnsafeBufferPointer(rebasing: text[position..<position + length])
            position += length
            if let id = id(ofCharacter: character) {
                if hasUnknown, let unknown { merger.append(unknown) }
                hasUnknown = false
                merger.append(id)
            } else if appendFallback(of: character, to: &merger) {
                continue
            } else if let unknown {
                if hasUnknown, !fusesUnknown { merger.append(unknown) }
                hasUnknown = true
            } else if case .missing(let error) = self.unknown {
                throw error
            }
        }
        if hasUnknown, let unknown { merger.append(unknown) }
        merger.merge(by: merges, into: &output)
    }

    private func id(ofCharacter character: UnsafeBufferPointer<UInt8>) -> Int? {
        let first = Int(character[0])
        guard first < byteIDs.count else { return vocabulary.id(of: character) }
        return byteIDs[first] < 0 ? nil : byteIDs[first]
    }

    /// Spells a character with byte tokens, if all of them are there.
    private func appendFallback(of character: UnsafeBufferPointer<UInt8>, to merger: inout WordMerger) -> Bool {
        guard !fallbackIDs.isEmpty else { return false }
        let bytes = unit == .bytes ? ByteAlphabet.spellings[Int(character[0])] : Array(character)
        guard bytes.allSatisfy({ fallbackIDs[Int($0)] >= 0 }) else { return false }
        for byte in bytes { merger.append(fallbackIDs[Int(byte)]) }
        return true
    }

    private func wholeWord(_ text: UnsafeBufferPointer<UInt8>) -> Int? {
        guard unit == .bytes else { return vocabulary.id(of: text) }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2 * text.count) { spelled in
            var length = 0
            for byte in text {
                for character in ByteAlphabet.spellings[Int(byte)] {
                    spelled[length] = character
                    length += 1
                }
            }
            return vocabulary.id(of: UnsafeBufferPointer(rebasing: spelled[..<length]))
        }
    }

    private static func independentSeparator(_ vocabulary: Vocabulary, _ merges: MergeTable) -> [UInt8]? {
        let separator = Array("\u{2581}".utf8)
        guard vocabulary.id(of: separator) != nil else { return nil }
        var isIndependent = true
        merges.forEachPair { left, right in
            guard let left = vocabulary.spelling(of: left), let right = vocabulary.spelling(of: right) else { return }
            if right.starts(with: separator), !left.reversed().starts(with: separator.reversed()) {
                isIndependent = false
            }
        }
        return isIndependent ? separator : nil
    }
}
