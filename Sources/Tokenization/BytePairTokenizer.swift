/// A tokenizer as `tokenizer.json`, `tokenizer.model`, `vocab.json` and `merges.txt`, or `tekken.json` describe it: byte-pair
/// encoding, and the steps around it.
///
/// A text goes: added tokens out → normalizer → pre-tokenizer → model → post-processor. Ids go: tokens → decoder.
public struct BytePairTokenizer: Tokenizer {
    let normalizer: Normalizer?
    let preTokenizer: PreTokenizer?
    let model: BytePairModel
    let postProcessor: PostProcessor
    let decoder: TextDecoder
    let addedTokens: AddedTokens

    /// So many words take a few milliseconds.
    private static let piecesBetweenChecks = 4096

    public let beginOfSequence: Int?
    public let endOfSequence: Int?

    /// One more than the largest id, added tokens included.
    public var vocabularySize: Int { max(model.vocabulary.upperBound, addedTokens.upperBound) }

    public func encode(_ text: String, addSpecialTokens: Bool) throws -> [Int] {
        var ids: [Int] = addSpecialTokens ? postProcessor.prefix : []
        var text = text
        try text.withUTF8 { try appendIDs(of: $0, findsSpecialTokens: true, startsPrompt: true, to: &ids) }
        if addSpecialTokens { ids += postProcessor.suffix }
        return ids
    }

    public func encode(_ parts: [PromptPart]) throws -> [Int] {
        var ids: [Int] = []
        // All text between two special tokens is encoded as one.
        var run = ""
        var startsPrompt = true
        var stripsRun = false
        func encodeRun(stripsEnd: Bool) throws {
            if stripsRun { run = String(run.drop(while: \.isWhitespace)) }
            if stripsEnd { while run.last?.isWhitespace == true { run.removeLast() } }
            try run.withUTF8 {
                try appendIDs(of: $0, findsSpecialTokens: false, startsPrompt: startsPrompt, to: &ids)
            }
            run = ""
        }
        for part in parts {
            guard case .template(let text) = part else {
                run += part.content
                continue
            }
            for piece in addedTokens.specialPieces(of: text) {
                switch piece {
                case .text(let text): run += text
                case .token(let token):
                    try encodeRun(stripsEnd: token.stripsLeft)
                    ids.append(token.id)
                    (startsPrompt, stripsRun) = (false, token.stripsRight)
                }
            }
        }
        try encodeRun(stripsEnd: false)
        return ids
    }

    private func appendIDs(
        of text: UnsafeBufferPointer<UInt8>, findsSpecialTokens: Bool, startsPrompt: Bool, to ids: inout [Int]
    ) throws {
        var merger = WordMerger()
        let verbatim = findsSpecialTokens ? addedTokens.verbatim : addedTokens.verbatimWords
        let normalizedTokens = findsSpecialTokens ? addedTokens.normalized : addedTokens.normalizedWords
        for part in verbatim.split(text) {
            switch part {
            case .token(let token): ids.append(token.id)
            case .text(let range):
                var normalized = Array(text[range])
                let startsText = startsPrompt && range.lowerBound == 0
                try normalizer?.normalize(&normalized, startsText: startsText)
                try normalized.withUnsafeBufferPointer { bytes in
                    for part in normalizedTokens.split(bytes) {
                        switch part {
                        case .token(let token): ids.append(token.id)
                        case .text(let piece):
                            try appendIDs(
                                of: Array(bytes[piece]), startsText: startsText && piece.lowerBound == 0, with: &merger,
                                to: &ids)
                        }
                    }
                }
            }
        }
    }

    private func appendIDs(
        of bytes: [UInt8],
        startsText: Bool,
        with merger: inout WordMerger,
        to ids: inout [Int]
    ) throws {
        var text = PreTokenizedText(bytes, startsText: startsText)
        try preTokenizer?.apply(to: &text)
        try text.bytes.withUnsafeBufferPointer { bytes in
            for (index, piece) in text.pieces.enumerated() {
                if index.isMultiple(of: Self.piecesBetweenChecks) { try Task.checkCancellation() }
                try model.encode(UnsafeBufferPointer(rebasing: bytes[piece]), with: &merger, into: &ids)
            }
        }
    }

    public func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
        var decoder = decoder
        var text: [UInt8] = []
        for id in ids {
            if let token = spelling(of: id, skipSpecialTokens: skipSpecialTokens) { text += decoder.append(token) }
        }
        text += decoder.finish()
        return String(decoding: text, as: UTF8.self)
    }

    public func makeDecodingStream(skipSpecialTokens: Bool) -> any DecodingStream {
        Stream(tokenizer: self, skipSpecialTokens: skipSpecialTokens, decoder: decoder)
    }

    public func id(of token: String) -> Int? {
        addedTokens.id(of: token) ?? model.vocabulary.id(of: token.utf8)
    }

    public func token(of id: Int) -> String? {
        spelling(of: id, skipSpecialTokens: false).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The spelling of a token; nil where no token has the id, or where it is special and those are skipped.
    private func spelling(of id: Int, skipSpecialTokens: Bool) -> ArraySlice<UInt8>? {
        if let added = addedTokens[id] { return skipSpecialTokens && added.token.isSpecial ? nil : added.spelling[...] }
        return model.vocabulary.spelling(of: id)
    }

    private struct Stream: DecodingStream {
        let tokenizer: BytePairTokenizer
        let skipSpecialTokens: Bool
        var decoder: TextDecoder

        mutating func append(_ id: Int) -> String {
            guard let token = tokenizer.spelling(of: id, skipSpecialTokens: skipSpecialTokens) else { return "" }
            return String(decoding: decoder.append(token), as: UTF8.self)
        }

        mutating func finish() -> String { String(decoding: decoder.finish(), as: UTF8.self) }
    }
}

/// The special tokens that stand around an encoded text.
struct PostProcessor: Sendable, Hashable {
    var prefix: [Int] = []
    var suffix: [Int] = []
}
