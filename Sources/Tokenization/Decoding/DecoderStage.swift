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
