import JSON

/// Tokens to text, through stages in order.
struct TextDecoder: Sendable {
    private let initialStages: [any DecoderStage]
    private var stages: [any DecoderStage]

    init(stages: [any DecoderStage]) {
        initialStages = stages
        self.stages = stages
    }

    /// The text that is settled with the next token: valid UTF-8.
    mutating func append(_ token: [UInt8]) -> [UInt8] {
        pass([token], finishing: false)
    }

    /// The text that was held back. The decoder is then as it was at the beginning.
    mutating func finish() -> [UInt8] {
        let text = pass([], finishing: true)
        stages = initialStages
        return text
    }

    private mutating func pass(_ tokens: [[UInt8]], finishing: Bool) -> [UInt8] {
        var tokens = tokens
        for index in stages.indices {
            var output: [[UInt8]] = []
            for token in tokens { stages[index].append(token, to: &output) }
            if finishing { stages[index].finish(to: &output) }
            tokens = output
        }
        return tokens.count == 1 ? tokens[0] : Array(tokens.joined())
    }
}

/// One step on the way from tokens to text.
///
/// A stage takes tokens one at a time and gives tokens as soon as nothing that follows can change them. So decoding a
/// whole text and streaming it are the same computation. All tokens are valid UTF-8, on both sides.
protocol DecoderStage: Sendable {
    /// Takes the next token and appends what is settled to `output`.
    mutating func append(_ token: [UInt8], to output: inout [[UInt8]])
    /// Appends what was held back. No token follows.
    mutating func finish(to output: inout [[UInt8]])
}

extension DecoderStage {
    mutating func finish(to output: inout [[UInt8]]) {}
}

/// Replaces a string in each token.
struct ReplaceStage: DecoderStage {
    let pattern: [UInt8]
    let content: [UInt8]

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        output.append(SearchPattern.replacing(pattern, in: token, with: content))
    }
}

/// SentencePiece's visible spaces back to spaces; the first token loses those that the encoder put there.
struct MetaspaceStage: DecoderStage {
    let metaspace: Metaspace
    private var isFirst = true

    init(_ metaspace: Metaspace) { self.metaspace = metaspace }

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        let content: [UInt8] = isFirst && metaspace.scheme != .never ? [] : [UInt8(ascii: " ")]
        isFirst = false
        output.append(SearchPattern.replacing(metaspace.replacement, in: token, with: content))
    }
}

/// Puts spaces between tokens: what the reference does for a tokenizer without decoder.
struct JoinStage: DecoderStage {
    private var isFirst = true

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        output.append(isFirst ? token : [UInt8(ascii: " ")] + token)
        isFirst = false
    }
}

/// Gathers all tokens and gives them as one, at the end: before a stage that must see the whole text.
struct CollectStage: DecoderStage {
    private var text: [UInt8] = []

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) { text += token }

    mutating func finish(to output: inout [[UInt8]]) { output.append(text) }
}

/// Removes a character from the beginning and the end of each token, so many times at most.
struct StripStage: DecoderStage {
    /// The character, in UTF-8.
    let content: [UInt8]
    let start: Int
    let stop: Int

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        var token = token[...]
        var leading = 0
        while leading < start, token.starts(with: content) {
            token.removeFirst(content.count)
            leading += 1
        }
        let trailing = token.trailingCount(of: content, atMost: stop)
        output.append(Array(token.dropLast(trailing * content.count)))
    }
}

/// `StripStage` where the tokens that come are parts of a single one.
struct FusedStripStage: DecoderStage {
    private let content: [UInt8]
    private var start: Int
    private let stop: Int
    /// Characters at the end that are removed unless something follows.
    private var held = 0

    init(_ stage: StripStage) {
        content = stage.content
        start = stage.start
        stop = stage.stop
    }

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        guard !token.isEmpty else { return }
        var rest = token[...]
        while start > 0, rest.starts(with: content) {
            rest.removeFirst(content.count)
            start -= 1
        }
        if !rest.isEmpty { start = 0 }
        let trailing = rest.trailingCount(of: content, atMost: .max)
        if trailing * content.count == rest.count {
            // Nothing but the character: what can no longer be at the end goes on.
            let count = held + trailing
            held = min(count, max(0, stop))
            output.append(repeated(count - held))
        } else {
            let next = min(trailing, max(0, stop))
            output.append(repeated(held) + rest.dropLast(next * content.count))
            held = next
        }
    }
}

extension FusedStripStage {
    private func repeated(_ count: Int) -> [UInt8] { Array(repeatElement(content, count: count).joined()) }
}

extension ArraySlice<UInt8> {
    /// How often `content` stands at the end, one after the other, counted up to `limit`.
    fileprivate func trailingCount(of content: [UInt8], atMost limit: Int) -> Int {
        var rest = self
        var count = 0
        while count < limit, rest.count >= content.count, rest.suffix(content.count).elementsEqual(content) {
            rest.removeLast(content.count)
            count += 1
        }
        return count
    }
}

/// Byte-level tokens to text. Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a sequence.
struct ByteLevelStage: DecoderStage {
    /// The beginning of a character whose other bytes may follow.
    private var pending: [UInt8] = []

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        ByteAlphabet.appendBytes(of: token, to: &pending)
        let settled = pending.count - Self.unfinishedSuffixLength(of: pending)
        guard settled > 0 else { return }
        output.append(Array(String(decoding: pending[..<settled], as: UTF8.self).utf8))
        pending.removeSubrange(..<settled)
    }

    mutating func finish(to output: inout [[UInt8]]) {
        if !pending.isEmpty { output.append(Array(String(decoding: pending, as: UTF8.self).utf8)) }
        pending = []
    }

    /// Length of the leading byte and continuation bytes at the end that lack further bytes: 0 to 3.
    private static func unfinishedSuffixLength(of bytes: [UInt8]) -> Int {
        for (index, byte) in bytes.reversed().prefix(3).enumerated() where byte & 0xC0 != 0x80 {
            return byte >= 0xC0 && utf8Length(ofLeadingByte: byte) > index + 1 ? index + 1 : 0
        }
        return 0
    }
}

/// Tokens such as "<0x0A>" to the bytes that they spell. What a run of them means is known when it ends.
struct ByteFallbackStage: DecoderStage {
    /// What becomes of a run of bytes that is not UTF-8.
    enum InvalidRun: Sendable {
        /// `tokenizers`: every byte of it becomes U+FFFD, good ones too.
        case replacedWhole
        /// sentencepiece: every byte that belongs to no character becomes U+FFFD.
        case replacedByByte
    }

    let invalidRun: InvalidRun
    private var run: [UInt8] = []

    init(invalidRun: InvalidRun) { self.invalidRun = invalidRun }

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        if let byte = Self.byte(of: token) {
            run.append(byte)
        } else {
            finish(to: &output)
            output.append(token)
        }
    }

    mutating func finish(to output: inout [[UInt8]]) {
        guard !run.isEmpty else { return }
        defer { run = [] }
        if String(validating: run, as: UTF8.self) != nil {
            output.append(run)
            return
        }
        let replacement = Array("\u{FFFD}".utf8)
        switch invalidRun {
        case .replacedWhole:
            output.append(Array(repeatElement(replacement, count: run.count).joined()))
        case .replacedByByte:
            var text: [UInt8] = []
            var rest = run[...]
            while let first = rest.first {
                let character = rest.prefix(utf8Length(ofLeadingByte: first))
                let isValid = String(validating: character, as: UTF8.self) != nil
                text += isValid ? Array(character) : replacement
                rest.removeFirst(isValid ? character.count : 1)
            }
            output.append(text)
        }
    }

    private static func byte(of token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">"),
            let high = hexadecimalValue(of: token[3]), let low = hexadecimalValue(of: token[4])
        else { return nil }
        return high << 4 | low
    }
}
