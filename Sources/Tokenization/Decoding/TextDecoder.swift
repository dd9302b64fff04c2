import JSON

/// Tokens to text, through stages in order. Allocates nothing per token: its buffers are kept.
struct TextDecoder: Sendable {
    private let initialStages: [any DecoderStage]
    private var stages: [any DecoderStage]
    /// What enters a stage and what leaves it.
    private var input = TokenBuffer()
    private var output = TokenBuffer()

    init(stages: [any DecoderStage]) {
        initialStages = stages
        self.stages = stages
    }

    /// The text that is settled with the next token: valid UTF-8.
    mutating func append(_ token: ArraySlice<UInt8>) -> [UInt8] {
        input.removeAll()
        input.append(token)
        return pass(finishing: false)
    }

    /// The text that was held back. The decoder is then as it was at the beginning.
    mutating func finish() -> [UInt8] {
        input.removeAll()
        let text = pass(finishing: true)
        stages = initialStages
        return text
    }

    private mutating func pass(finishing: Bool) -> [UInt8] {
        for index in stages.indices {
            output.removeAll()
            for token in 0..<input.count { stages[index].append(input[token], to: &output) }
            if finishing { stages[index].finish(to: &output) }
            swap(&input, &output)
        }
        return input.bytes
    }
}

/// Tokens one after the other in one array, whose memory is kept.
struct TokenBuffer: Sendable {
    private(set) var bytes: [UInt8] = []
    private var ends: [Int] = []

    var count: Int { ends.count }

    subscript(index: Int) -> ArraySlice<UInt8> { bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]] }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
    }

    mutating func append(_ token: some Collection<UInt8>) { append { $0.append(contentsOf: token) } }

    /// Appends the token that `body` adds to the bytes of those before it.
    mutating func append(_ body: (inout [UInt8]) -> Void) {
        body(&bytes)
        ends.append(bytes.count)
    }
}

/// One step on the way from tokens to text.
///
/// A stage takes tokens one at a time and gives tokens as soon as nothing that follows can change them. So decoding a
/// whole text and streaming it are the same computation. All tokens are valid UTF-8, on both sides.
protocol DecoderStage: Sendable {
    /// Takes the next token and appends what is settled to `output`.
    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer)
    /// Appends what was held back. No token follows.
    mutating func finish(to output: inout TokenBuffer)
}

extension DecoderStage {
    mutating func finish(to output: inout TokenBuffer) {}
}

/// Replaces a string in each token.
struct ReplaceStage: DecoderStage {
    let pattern: [UInt8]
    let content: [UInt8]

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        output.append { SearchPattern.append(token, replacing: pattern, with: content, to: &$0) }
    }
}

/// SentencePiece's visible spaces back to spaces; the first token loses those that the encoder put there.
struct MetaspaceStage: DecoderStage {
    private static let nothing: [UInt8] = []
    private static let space = [UInt8(ascii: " ")]

    let metaspace: Metaspace
    private var isFirst = true

    init(_ metaspace: Metaspace) { self.metaspace = metaspace }

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        let content = isFirst && metaspace.scheme != .never ? Self.nothing : Self.space
        isFirst = false
        output.append { SearchPattern.append(token, replacing: metaspace.replacement, with: content, to: &$0) }
    }
}

/// Puts spaces between tokens: what the reference does for a tokenizer without decoder.
struct JoinStage: DecoderStage {
    private var isFirst = true

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        output.append {
            if !isFirst { $0.append(UInt8(ascii: " ")) }
            $0.append(contentsOf: token)
        }
        isFirst = false
    }
}

/// Gathers all tokens and gives them as one, at the end: before a stage that must see the whole text.
struct CollectStage: DecoderStage {
    private var text: [UInt8] = []

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) { text += token }

    mutating func finish(to output: inout TokenBuffer) { output.append(text) }
}

/// Removes a character from the beginning and the end of each token, so many times at most.
struct StripStage: DecoderStage {
    /// The character, in UTF-8.
    let content: [UInt8]
    let start: Int
    let stop: Int

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        var token = token
        var leading = 0
        while leading < start, token.starts(with: content) {
            token.removeFirst(content.count)
            leading += 1
        }
        let trailing = token.trailingCount(of: content, atMost: stop)
        output.append(token.dropLast(trailing * content.count))
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

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        guard !token.isEmpty else { return }
        var rest = token
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
            let settled = count - held
            output.append { bytes in
                for _ in 0..<settled { bytes.append(contentsOf: content) }
            }
        } else {
            let next = min(trailing, max(0, stop))
            output.append { bytes in
                for _ in 0..<held { bytes.append(contentsOf: content) }
                bytes.append(contentsOf: rest.dropLast(next * content.count))
            }
            held = next
        }
    }
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

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        ByteAlphabet.appendBytes(of: token, to: &pending)
        let settled = pending.count - Self.unfinishedSuffixLength(of: pending)
        guard settled > 0 else { return }
        output.append { Self.appendRepaired(pending[..<settled], to: &$0) }
        pending.removeSubrange(..<settled)
    }

    mutating func finish(to output: inout TokenBuffer) {
        if !pending.isEmpty { output.append { Self.appendRepaired(pending[...], to: &$0) } }
        pending = []
    }

    /// Appends what `String(decoding:as:)` makes of the bytes, which allocates where it repairs.
    private static func appendRepaired(_ bytes: ArraySlice<UInt8>, to text: inout [UInt8]) {
        var parser = Unicode.UTF8.ForwardParser()
        var iterator = bytes.makeIterator()
        while true {
            switch parser.parseScalar(from: &iterator) {
            case .valid(let scalar): text.append(contentsOf: scalar)
            case .error: text.append(contentsOf: "\u{FFFD}".utf8)
            case .emptyInput: return
            }
        }
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

    mutating func append(_ token: ArraySlice<UInt8>, to output: inout TokenBuffer) {
        if let byte = Self.byte(of: token) {
            run.append(byte)
        } else {
            finish(to: &output)
            output.append(token)
        }
    }

    mutating func finish(to output: inout TokenBuffer) {
        guard !run.isEmpty else { return }
        defer { run.removeAll(keepingCapacity: true) }
        if String(validating: run, as: UTF8.self) != nil {
            output.append(run)
            return
        }
        output.append { text in
            switch invalidRun {
            case .replacedWhole: for _ in run { text.append(contentsOf: "\u{FFFD}".utf8) }
            case .replacedByByte:
                var rest = run[...]
                while let first = rest.first {
                    let character = rest.prefix(utf8Length(ofLeadingByte: first))
                    let isValid = String(validating: character, as: UTF8.self) != nil
                    if isValid { text.append(contentsOf: character) } else { text.append(contentsOf: "\u{FFFD}".utf8) }
                    rest.removeFirst(isValid ? character.count : 1)
                }
            }
        }
    }

    static func byte(of token: ArraySlice<UInt8>) -> UInt8? {
        let first = token.startIndex
        guard token.count == 6, token[first] == UInt8(ascii: "<"), token[first + 1] == UInt8(ascii: "0"),
            token[first + 2] == UInt8(ascii: "x"), token[first + 5] == UInt8(ascii: ">"),
            let high = hexadecimalValue(of: token[first + 3]), let low = hexadecimalValue(of: token[first + 4])
        else { return nil }
        return high << 4 | low
    }
}
