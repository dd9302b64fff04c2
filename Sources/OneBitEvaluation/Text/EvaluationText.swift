import Foundation
import JSON
import LanguageModel
import Tokenization

/// How the texts of a file are told apart.
public enum EvaluationTextFormat: String, Sendable, CaseIterable {
    /// The whole file is one text.
    case plain
    /// One JSON object a line; its `text` is a text.
    case jsonl
    /// `wiki.test.raw`: every line is a text and keeps its line end, a line of one space is an empty text. So it stands
    /// in the data set `wikitext-2-raw-v1` that published perplexities are computed on.
    case wikitext

    /// What a file's name says: `.jsonl` or plain, each also with `.gz`.
    public init(of file: URL) {
        let name = file.pathExtension.lowercased() == "gz" ? file.deletingPathExtension() : file
        self = name.pathExtension.lowercased() == "jsonl" ? .jsonl : .plain
    }
}

/// The texts of a file, to be evaluated together.
public struct EvaluationText: Sendable {
    /// The texts in their order.
    public let texts: [String]
    /// The file's name, for print.
    public let name: String

    /// - Parameters:
    ///   - file: plain or gzipped.
    ///   - format: how the texts of a file are told apart; nil is by the file's name.
    ///   - limit: most texts to take, from the front.
    /// - Throws: ``EvaluationTextError``, `JSONNodeError` for a line without a string `text`, and `FileError`.
    public init(file: URL, format: EvaluationTextFormat? = nil, limit: Int = .max) throws {
        texts = try Self.texts(of: file, format: format ?? EvaluationTextFormat(of: file), limit: limit)
        name = file.lastPathComponent
    }

    /// Lines end with LF or CRLF and are the same texts either way: a line end is the file's, not the text's. A plain file is
    /// one text as it stands, its line ends included.
    private static func texts(of file: URL, format: EvaluationTextFormat, limit: Int) throws -> [String] {
        var texts: [String] = []
        func text(_ bytes: some Collection<UInt8>) throws -> String {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw EvaluationTextError.notUTF8(file: file.path)
            }
            return text
        }
        switch format {
        case .plain: texts = [try text(readContents(of: file, limit: fileLimit))]
        case .jsonl:
            var lines = try JSONLines(contentsOf: file, duplicateKeys: .lastCounts, maximumLineBytes: fileLimit)
            while texts.count < limit, let document = try lines.next() { texts.append(try document["text"].string()) }
        case .wikitext:
            var lines = try TextLines(contentsOf: file, maximumLineBytes: fileLimit)
            while texts.count < limit, let line = try lines.next() {
                texts.append(line.bytes.elementsEqual([UInt8(ascii: " ")]) ? "" : try text(line.bytes) + "\n")
            }
        }
        return texts
    }

    /// Bytes that a file or a line may have, unzipped or not.
    private static let fileLimit = 512 << 20
}

/// Where the tokens of an evaluation get a beginning-of-sequence token.
public enum BeginOfSequencePlacement: String, Sendable, CaseIterable {
    /// One in front; the texts are joined, by an empty line as GPTQ does unless told otherwise.
    case front
    /// One before each text, nothing between them: the stream that models of short documents are trained on.
    case each
    /// One in front of the joined texts, and one in place of every window's first token, as llama.cpp does.
    case window
    /// None; the texts are joined.
    case none
}

extension EvaluationText {
    /// What stands between texts that are evaluated as one: an empty line, as GPTQ joins WikiText-2's.
    public static let emptyLine = "\n\n"

    /// The texts as one sequence of tokens.
    ///
    /// - Parameters:
    ///   - tokenizer: the model's.
    ///   - beginOfSequence: the token that opens a sequence; nil puts none, whatever `placement` says.
    ///   - placement: where that token goes.
    ///   - separator: what stands between joined texts.
    /// - Throws: what `Tokenizer.encode` throws.
    public func joined(
        tokenizer: any Tokenizer, beginOfSequence: Int?, placement: BeginOfSequencePlacement,
        separator: String = emptyLine
    ) throws -> TokenizedText {
        guard let beginOfSequence, placement != .none else {
            let tokens = try tokenizer.encode(texts.joined(separator: separator), addSpecialTokens: false)
            return TokenizedText(name: name, sequences: [tokens])
        }
        if placement == .each, texts.count > 1 {
            let tokens = try texts.flatMap { try [beginOfSequence] + tokenizer.encode($0, addSpecialTokens: false) }
            return TokenizedText(name: name, sequences: [tokens])
        }
        let text = texts.joined(separator: separator)
        return TokenizedText(
            name: name,
            sequences: [try [beginOfSequence] + tokenizer.encode(text, addSpecialTokens: false)],
            windowBegin: placement == .window ? beginOfSequence : nil,
            extent: TextExtent(of: [text]))
    }

    /// Each text as a sequence of its own, behind the token that its first is predicted from: beginning-of-sequence, or
    /// end-of-sequence where there is no such token, as lm-evaluation-harness chooses.
    ///
    /// - Throws: ``EvaluationTextError/noTokenToStartFrom``
    public func separate(tokenizer: any Tokenizer) throws -> TokenizedText {
        guard let prefix = tokenizer.beginOfSequence ?? tokenizer.endOfSequence else {
            throw EvaluationTextError.noTokenToStartFrom
        }
        return TokenizedText(
            name: name,
            sequences: try texts.map { try [prefix] + tokenizer.encode($0, addSpecialTokens: false) },
            extent: TextExtent(of: texts))
    }

    /// Segments of texts drawn at random, one behind the other: GPTQ's and OneBit's sample of C4. A text is drawn until
    /// one has more tokens than a segment, its own beginning-of-sequence token among them, then the segment's place in it.
    /// Draws as Python's `random` does behind `random.seed(seed)`, so that the same file gives the segments of published
    /// figures, for which it is 256 segments, seed 0.
    ///
    /// - Throws: ``EvaluationTextError/noTextLongEnough(text:segment:)``
    public func drawn(
        segments: Int, length: Int, seed: UInt64, tokenizer: any Tokenizer, beginOfSequence: Int?,
        placement: BeginOfSequencePlacement
    ) throws -> TokenizedText {
        let begin = placement == .none ? [] : beginOfSequence.map { [$0] } ?? []
        var random = PythonRandom(seed: seed)
        var tooShort: Set<Int> = []
        var tokens: [Int] = []
        for _ in 0..<segments {
            while true {
                guard tooShort.count < texts.count else {
                    throw EvaluationTextError.noTextLongEnough(text: name, segment: length)
                }
                let index = random.integer(below: texts.count)
                guard !tooShort.contains(index) else { continue }
                let text = try begin + tokenizer.encode(texts[index], addSpecialTokens: false)
                if text.count > length {
                    let first = random.integer(below: text.count - length)
                    tokens += text[first..<first + length]
                    break
                }
                tooShort.insert(index)
            }
        }
        return TokenizedText(
            name: name, sequences: [tokens], windowBegin: placement == .window ? beginOfSequence : nil)
    }
}

/// The size of a text in units that do not depend on a tokenizer, as lm-evaluation-harness counts them.
public struct TextExtent: Sendable, Hashable {
    /// Pieces between runs of white space, an empty one at an end included.
    public private(set) var words: Int
    /// Bytes of UTF-8.
    public private(set) var bytes: Int

    /// The size of several texts, each counted by itself.
    public init(of texts: some Sequence<String>) {
        (words, bytes) = (0, 0)
        for text in texts {
            words += Self.words(of: text)
            bytes += text.utf8.count
        }
    }

    /// Two texts, each counted by itself.
    static func + (one: TextExtent, other: TextExtent) -> TextExtent {
        var sum = one
        sum.words += other.words
        sum.bytes += other.bytes
        return sum
    }

    /// `len(re.split(r"\s+", text))`: one more than there are runs of white space.
    private static func words(of text: String) -> Int {
        var words = 1
        var isInSpace = false
        for scalar in text.unicodeScalars {
            let isSpace = PythonText.isSpace(scalar)
            if isSpace && !isInSpace { words += 1 }
            isInSpace = isSpace
        }
        return words
    }
}

/// A file that no text can be read from, or a text that does not suit what is asked of it.
public enum EvaluationTextError: LocalizedError, Sendable, Equatable {
    /// Bytes that are not text.
    case notUTF8(file: String)
    /// The protocol puts tokens before each text, and the tokenizer has none for it.
    case noTokenToStartFrom
    /// Beginning-of-sequence tokens where the protocol has no place for them.
    case placementNotDefined(placement: BeginOfSequencePlacement)
    /// No text that a segment could be cut from.
    case noTextLongEnough(text: String, segment: Int)

    public var errorDescription: String? {
        switch self {
        case .notUTF8(let file): "\(file): not UTF-8 text."
        case .noTokenToStartFrom:
            "The tokenizer has neither a beginning- nor an end-of-sequence token that the first token of a text could be "
                + "predicted from, as the rolling protocol does. Choose another protocol."
        case .placementNotDefined(let placement):
            "The rolling protocol puts one token before each text; \"\(placement.rawValue)\" is not defined for it. Leave "
                + "the placement out, or choose another protocol."
        case .noTextLongEnough(let text, let segment):
            "\(text): no text has more than \(segment) tokens, as segments drawn from single texts need. Choose a shorter "
                + "window, or do not draw."
        }
    }
}
