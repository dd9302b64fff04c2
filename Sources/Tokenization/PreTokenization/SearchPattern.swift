import Foundation

/// What a component of `tokenizer.json` looks for in a text: `{"String": …}` or `{"Regex": …}`.
enum SearchPattern: Sendable {
    case literal([UInt8])
    case gpt2Words
    /// LLaMA 3's pattern, or Qwen2's, which differs in how many digits stay together.
    case llama3Words(maximumDigits: Int)
    case tekkenWords
    case regularExpression(RegularExpression)

    /// What is looked for, as a regular expression; a string as it is.
    var expression: String {
        switch self {
        case .literal(let pattern): String(decoding: pattern, as: UTF8.self)
        case .gpt2Words: WordScanner.gpt2Pattern
        case .llama3Words(let digits): WordScanner.llama3Pattern(digits: digits == 1 ? "" : "{1,\(digits)}")
        case .tekkenWords: WordScanner.tekkenPattern
        case .regularExpression(let expression): expression.pattern
        }
    }

    /// Calls `body` with the matches in `bytes[range]`, from left to right; no match is empty.
    ///
    /// - Throws: `TokenizerError.expressionFailed`, and `CancellationError` once the task is cancelled.
    func forEachMatch(
        in bytes: UnsafeBufferPointer<UInt8>,
        range: Range<Int>,
        _ body: (Range<Int>) -> Void
    ) throws {
        switch self {
        case .literal(let pattern): Self.forEachOccurrence(of: pattern, in: bytes, range: range, body)
        case .gpt2Words: WordScanner(bytes, range: range).forEachGPT2Word(body)
        case .llama3Words(let digits): WordScanner(bytes, range: range).forEachLlama3Word(maximumDigits: digits, body)
        case .tekkenWords: WordScanner(bytes, range: range).forEachTekkenWord(body)
        case .regularExpression(let expression): try expression.forEachMatch(in: bytes, range: range, body)
        }
    }

    /// `text` with every match replaced.
    func replaced(in text: [UInt8], with content: [UInt8]) throws -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.count)
        try Self.append(text[...], with: content, to: &output) { bytes, body in
            try forEachMatch(in: bytes, range: 0..<bytes.count, body)
        }
        return output
    }

    /// Appends `text` with every occurrence of `pattern` replaced.
    static func append(
        _ text: ArraySlice<UInt8>, replacing pattern: [UInt8], with content: [UInt8], to output: inout [UInt8]
    ) {
        append(text, with: content, to: &output) { bytes, body in
            forEachOccurrence(of: pattern, in: bytes, range: 0..<bytes.count, body)
        }
    }

    private static func append(
        _ text: ArraySlice<UInt8>, with content: [UInt8], to output: inout [UInt8],
        forEachMatch: (UnsafeBufferPointer<UInt8>, (Range<Int>) -> Void) throws -> Void
    ) rethrows {
        var position = 0
        try text.withUnsafeBufferPointer { bytes in
            try forEachMatch(bytes) { match in
                output.append(contentsOf: bytes[position..<match.lowerBound])
                output.append(contentsOf: content)
                position = match.upperBound
            }
            output.append(contentsOf: bytes[position...])
        }
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
}

/// A regular expression of a tokenizer's file, and where it stands there.
struct RegularExpression: Sendable {
    private let expression: NSRegularExpression
    private let file: String
    private let key: String

    var pattern: String { expression.pattern }

    init(_ expression: NSRegularExpression, file: String, key: String) {
        self.expression = expression
        self.file = file
        self.key = key
    }

    /// Calls `body` with the matches in `bytes[range]`, which is valid UTF-8, once all of them are found.
    ///
    /// - Throws: `TokenizerError.expressionFailed`, and `CancellationError` once the task is cancelled.
    func forEachMatch(
        in bytes: UnsafeBufferPointer<UInt8>,
        range: Range<Int>,
        _ body: (Range<Int>) -> Void
    ) throws {
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
        for match in try matches(in: text, byteCount: range.count) {
            let start = advance(toUTF16: match.location)
            let end = advance(toUTF16: match.location + match.length)
            if start < end { body(start..<end) }
        }
    }

    /// The matches in order. An expression that backtracks without end, such as `(a+)+b`, is stopped after a number of steps
    /// in proportion to the text; ICU itself stops where its stack for backtracking is full.
    private func matches(in text: String, byteCount: Int) throws -> [NSRange] {
        // The engine reports each place where it finds no match, and every 10,000 steps.
        var reportsLeft = 2 + byteCount + byteCount / 100
        var isStopped = false
        var isCancelled = false
        var matches: [NSRange] = []
        expression.enumerateMatches(
            in: text,
            options: [.reportProgress, .reportCompletion],
            range: NSRange(text.startIndex..., in: text)
        ) { match, flags, stop in
            if let match {
                matches.append(match.range)
            } else if flags.contains(.internalError) {
                isStopped = true
            } else if !flags.contains(.completed) {
                reportsLeft -= 1
                isCancelled = Task.isCancelled
                isStopped = isStopped || reportsLeft < 0
            }
            if isStopped || isCancelled { stop.pointee = true }
        }
        if isCancelled { throw CancellationError() }
        guard !isStopped else {
            throw TokenizerError.expressionFailed(
                file: file, key: key, expression: expression.pattern, textBytes: byteCount)
        }
        return matches
    }
}
