import Foundation

/// What a component of `tokenizer.json` looks for in a text: `{"String": …}` or `{"Regex": …}`.
enum SearchPattern: Sendable {
    case literal([UInt8])
    case gpt2Words
    /// LLaMA 3's pattern, or Qwen2's, which differs in how many digits stay together.
    case llama3Words(maximumDigits: Int)
    case regularExpression(NSRegularExpression)

    /// Calls `body` with the matches in `bytes[range]`, from left to right; no match is empty.
    func forEachMatch(
        in bytes: UnsafeBufferPointer<UInt8>,
        range: Range<Int>,
        _ body: (Range<Int>) -> Void
    ) {
        switch self {
        case .literal(let pattern): Self.forEachOccurrence(of: pattern, in: bytes, range: range, body)
        case .gpt2Words: WordScanner(bytes, range: range).forEachGPT2Word(body)
        case .llama3Words(let digits): WordScanner(bytes, range: range).forEachLlama3Word(maximumDigits: digits, body)
        case .regularExpression(let expression): Self.forEachMatch(of: expression, in: bytes, range: range, body)
        }
    }

    /// `text` with every match replaced.
    func replaced(in text: [UInt8], with content: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.count)
        var position = 0
        text.withUnsafeBufferPointer { bytes in
            forEachMatch(in: bytes, range: 0..<bytes.count) { match in
                output.append(contentsOf: bytes[position..<match.lowerBound])
                output.append(contentsOf: content)
                position = match.upperBound
            }
            output.append(contentsOf: bytes[position...])
        }
        return output
    }

    private static func forEachOccurrence(
        of pattern: [UInt8],
        in bytes: UnsafeBufferPointer<UInt8>,
        range: Range<Int>,
        _ body: (Range<Int>) -> Void
    ) {
        guard let first = pattern.first else { return }
        var position = range.lowerBound
        while position + pattern.count <= range.upperBound {
            if bytes[position] == first, bytes[position..<range.upperBound].starts(with: pattern) {
                body(position..<position + pattern.count)
                position += pattern.count
            } else {
                position += 1
            }
        }
    }

    private static func forEachMatch(
        of expression: NSRegularExpression,
        in bytes: UnsafeBufferPointer<UInt8>,
        range: Range<Int>,
        _ body: (Range<Int>) -> Void
    ) {
        let text = String(decoding: bytes[range], as: UTF8.self)
        // The expression counts in UTF-16, we in UTF-8: one walk along the text translates.
        var scalars = text.unicodeScalars.makeIterator()
        var utf16Offset = 0
        var utf8Offset = range.lowerBound
        func advance(toUTF16 target: Int) -> Int {
            while utf16Offset < target, let scalar = scalars.next() {
                utf16Offset += UTF16.width(scalar)
                utf8Offset += UTF8.width(scalar)
            }
            return utf8Offset
        }
        for match in boundedMatches(of: expression, in: text, byteCount: range.count) {
            let start = advance(toUTF16: match.location)
            let end = advance(toUTF16: match.location + match.length)
            if start < end { body(start..<end) }
        }
    }

    /// The matches in order. An expression that backtracks without end, such as `(a+)+b`, finds no more after a while, or
    /// a file that asks for one would never let a text through.
    private static func boundedMatches(
        of expression: NSRegularExpression,
        in text: String,
        byteCount: Int
    ) -> [NSRange] {
        // The engine reports each place where it finds no match, and every 10,000 steps.
        var reportsLeft = 2 + byteCount + byteCount / 100
        var matches: [NSRange] = []
        expression.enumerateMatches(
            in: text,
            options: .reportProgress,
            range: NSRange(text.startIndex..., in: text)
        ) { match, _, stop in
            if let match {
                matches.append(match.range)
            } else {
                reportsLeft -= 1
                if reportsLeft < 0 { stop.pointee = true }
            }
        }
        return matches
    }
}
