/// The split patterns of GPT-2, LLaMA 3, Qwen2 and Mistral's Tekken, matched by hand: many times faster than a regular expression.
///
/// Each pattern matches everything, so its matches are the words of the text, one after the other.
struct WordScanner {
    /// GPT-2's pattern, which `ByteLevel` pre-tokenizers use.
    static let gpt2Pattern = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    /// LLaMA 3's pattern, and with one digit at a time Qwen2's.
    static func llama3Pattern(digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// Tekken's pattern: words also end where a capital follows a small letter.
    static let tekkenPattern =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"#
        + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"#
        + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    private static let space = UInt8(ascii: " ")
    private static let apostrophe = UInt8(ascii: "'")

    private let bytes: UnsafeBufferPointer<UInt8>
    private let range: Range<Int>

    /// Scans `bytes[range]`, which must be valid UTF-8.
    init(_ bytes: UnsafeBufferPointer<UInt8>, range: Range<Int>) {
        // Nothing beyond the range may be looked at: the patterns look ahead.
        self.bytes = UnsafeBufferPointer(rebasing: bytes[..<range.upperBound])
        self.range = range
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    @inline(__always)
    func forEachGPT2Word(_ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = endOfGPT2Word(at: start)
            body(start..<end)
            start = end
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    @inline(__always)
    func forEachLlama3Word(maximumDigits: Int, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = endOfLlama3Word(at: start, maximumDigits: maximumDigits)
            body(start..<end)
            start = end
        }
    }

    /// `tekkenPattern`
    @inline(__always)
    func forEachTekkenWord(_ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = endOfTekkenWord(at: start)
            body(start..<end)
            start = end
        }
    }

    private func endOfGPT2Word(at start: Int) -> Int {
        if bytes[start] == Self.apostrophe, let end = endOfContraction(at: start, ignoringCase: false) { return end }
        let word = bytes[start] == Self.space && start + 1 < bytes.count ? start + 1 : start
        let first = CharacterClass.at(word, of: bytes)
        guard first.class == .whitespace else { return endOfRun(of: first.class, from: word + first.length) }
        return endOfWhitespace(at: start)
    }

    private func endOfLlama3Word(at start: Int, maximumDigits: Int) -> Int {
        if bytes[start] == Self.apostrophe, let end = endOfContraction(at: start, ignoringCase: true) { return end }
        let first = CharacterClass.at(start, of: bytes)
        let second = start + first.length
        // [^\r\n\p{L}\p{N}]?\p{L}+
        if first.class == .letter { return endOfRun(of: .letter, from: second) }
        if first.class != .number, !isNewline(bytes[start]), second < bytes.count {
            let next = CharacterClass.at(second, of: bytes)
            if next.class == .letter { return endOfRun(of: .letter, from: second + next.length) }
        }
        // \p{N}{1,3}
        if first.class == .number {
            var end = second
            var digits = 1
            while digits < maximumDigits, end < bytes.count {
                let next = CharacterClass.at(end, of: bytes)
                guard next.class == .number else { break }
                end += next.length
                digits += 1
            }
            return end
        }
        return endOfSymbols(at: start) ?? endOfWhitespace(at: start, orLastNewline: true)
    }

    private func endOfTekkenWord(at start: Int) -> Int {
        let first = CharacterClass.at(start, of: bytes)
        let second = start + first.length
        if first.class == .number { return second }
        if first.class == .letter {
            let word = casedWord(at: start)
            return word.end ?? word.endOfCapitals
        }
        if !isNewline(bytes[start]) {
            let word = casedWord(at: second)
            if let end = word.end { return end }
            // A mark may stand before a word, and is one itself: that comes before a word of capitals alone.
            if LetterCase.at(start, of: bytes).case == .caseless { return second }
            if word.endOfCapitals > second { return word.endOfCapitals }
        }
        return endOfSymbols(at: start, orSlashes: true) ?? endOfWhitespace(at: start, orLastNewline: true)
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`, and where that does not match, which is where capitals
    /// alone stand, the end of these.
    private func casedWord(at position: Int) -> (end: Int?, endOfCapitals: Int) {
        var end = position
        // Where no small letter follows, the expression gives back what is behind the last character without case.
        var afterCaseless: Int?
        while end < bytes.count {
            var next = LetterCase.at(end, of: bytes)
            if next.case == .none { break }
            end += next.length
            if next.case == .caseless { afterCaseless = end }
            guard next.case == .lower else { continue }
            while end < bytes.count {
                next = LetterCase.at(end, of: bytes)
                guard next.case == .lower || next.case == .caseless else { break }
                end += next.length
            }
            return (end, position)
        }
        return (afterCaseless, end)
    }

    /// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, with `orSlashes` `[\r\n/]*` at the end.
    private func endOfSymbols(at start: Int, orSlashes: Bool = false) -> Int? {
        let symbol = bytes[start] == Self.space && start + 1 < bytes.count ? start + 1 : start
        let first = CharacterClass.at(symbol, of: bytes)
        guard first.class == .other else { return nil }
        var end = endOfRun(of: .other, from: symbol + first.length)
        while end < bytes.count, isNewline(bytes[end]) || (orSlashes && bytes[end] == UInt8(ascii: "/")) { end += 1 }
        return end
    }

    /// `\s+(?!\S)|\s+`: white space to the end of the text, or all but its last character; a single one alone.
    /// With `orLastNewline` also what LLaMA 3 tries before, `\s*[\r\n]+`: white space to its last line break.
    private func endOfWhitespace(at start: Int, orLastNewline: Bool = false) -> Int {
        var end = start
        var last = start
        var afterNewline: Int?
        while end < bytes.count {
            let next = CharacterClass.at(end, of: bytes)
            guard next.class == .whitespace else { break }
            last = end
            end += next.length
            if orLastNewline, isNewline(bytes[last]) { afterNewline = end }
        }
        if let afterNewline { return afterNewline }
        return end < bytes.count && last > start ? last : end
    }

    private func endOfRun(of characterClass: CharacterClass, from position: Int) -> Int {
        var end = position
        while end < bytes.count {
            let next = CharacterClass.at(end, of: bytes)
            guard next.class == characterClass else { break }
            end += next.length
        }
        return end
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d` at an apostrophe.
    private func endOfContraction(at start: Int, ignoringCase: Bool) -> Int? {
        guard start + 1 < bytes.count else { return nil }
        // The long s is an s whose case was folded.
        if ignoringCase, bytes[start + 1] == 0xC5, bytes[start + 2] == 0xBF { return start + 3 }
        func letter(_ offset: Int) -> UInt8 {
            guard start + offset < bytes.count else { return 0 }
            let byte = bytes[start + offset]
            return ignoringCase && UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte ? byte | 0x20 : byte
        }
        switch letter(1) {
        case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
        case UInt8(ascii: "r"), UInt8(ascii: "v"): return letter(2) == UInt8(ascii: "e") ? start + 3 : nil
        case UInt8(ascii: "l"): return letter(2) == UInt8(ascii: "l") ? start + 3 : nil
        default: return nil
        }
    }

    private func isNewline(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }
}

/// The classes of characters that the split patterns tell apart.
enum CharacterClass {
    /// `\p{L}`
    case letter
    /// `\p{N}`
    case number
    /// `\s`: Unicode's White_Space.
    case whitespace
    case other

    private static let ascii: [CharacterClass] = (0..<128).map { value in classify(Unicode.Scalar(UInt8(value))) }

    /// The class of the scalar at `position` of valid UTF-8, and its length in bytes.
    @inline(__always)
    static func at(_ position: Int, of bytes: UnsafeBufferPointer<UInt8>) -> (class: CharacterClass, length: Int) {
        let first = bytes[position]
        if first < 0x80 { return (ascii[Int(first)], 1) }
        let (scalar, length) = utf8Scalar(in: bytes, at: position)
        return (classify(scalar), length)
    }

    private static func classify(_ scalar: Unicode.Scalar) -> CharacterClass {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: .letter
        case .decimalNumber, .letterNumber, .otherNumber: .number
        default: scalar.properties.isWhitespace ? .whitespace : .other
        }
    }
}

/// What Tekken's pattern tells apart in words.
private enum LetterCase {
    /// `\p{Lu}`, `\p{Lt}`
    case upper
    /// `\p{Ll}`
    case lower
    /// `\p{Lm}`, `\p{Lo}`, `\p{M}`
    case caseless
    case none

    private static let ascii: [LetterCase] = (0..<128).map { value in classify(Unicode.Scalar(UInt8(value))) }

    /// The case of the scalar at `position` of valid UTF-8, and its length in bytes.
    @inline(__always)
    static func at(_ position: Int, of bytes: UnsafeBufferPointer<UInt8>) -> (case: LetterCase, length: Int) {
        let first = bytes[position]
        if first < 0x80 { return (ascii[Int(first)], 1) }
        let (scalar, length) = utf8Scalar(in: bytes, at: position)
        return (classify(scalar), length)
    }

    private static func classify(_ scalar: Unicode.Scalar) -> LetterCase {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .titlecaseLetter: .upper
        case .lowercaseLetter: .lower
        case .modifierLetter, .otherLetter, .nonspacingMark, .spacingMark, .enclosingMark: .caseless
        default: .none
        }
    }
}
