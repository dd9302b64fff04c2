import Foundation
import Tokenization

/// Where the tokens of an evaluation get a beginning-of-sequence token.
public enum BeginOfSequencePlacement: String, Sendable, CaseIterable {
    /// One in front; the texts are joined by an empty line, as the GPTQ protocol does.
    case front
    /// One before each text, nothing between them: the stream that models of short documents are trained on.
    case each
    /// None; the texts are joined by an empty line.
    case none
}

/// How the texts of a file are told apart.
public enum EvaluationTextFormat: String, Sendable, CaseIterable {
    /// The whole file is one text.
    case plain
    /// One JSON object a line; its `text` is a text.
    case jsonl
    /// `wiki.test.raw`: every line is a text and keeps its line end, a line of one space is an empty text. So it stands
    /// in the data set `wikitext-2-raw-v1` that published perplexities are computed on.
    case wikitext

    /// What a file's name says: `.jsonl` or plain.
    public init(of file: URL) {
        self = file.pathExtension.lowercased() == "jsonl" ? .jsonl : .plain
    }
}

/// The texts of files, to be evaluated as one sequence.
public struct EvaluationText: Sendable {
    /// The texts in their order.
    public let texts: [String]
    /// The files' names, for print.
    public let name: String

    /// - Parameter format: how the texts of a file are told apart; nil is by the file's name.
    /// - Throws: ``EvaluationTextError``, and Foundation's error for a file that cannot be read.
    public init(files: [URL], format: EvaluationTextFormat? = nil) throws {
        texts = try files.flatMap { try Self.texts(of: $0, format: format ?? EvaluationTextFormat(of: $0)) }
        name = files.map(\.lastPathComponent).joined(separator: " + ")
    }

    /// The texts as one sequence of tokens.
    ///
    /// - Parameter beginOfSequence: the token that opens a sequence; nil puts none, whatever `placement` says.
    public func tokens(
        tokenizer: any Tokenizer, beginOfSequence: Int?, placement: BeginOfSequencePlacement
    ) -> [Int] {
        let begin = beginOfSequence.map { [$0] } ?? []
        func joined() -> [Int] { tokenizer.encode(texts.joined(separator: "\n\n"), addSpecialTokens: false) }
        return switch placement {
        case .front: begin + joined()
        case .each: texts.flatMap { begin + tokenizer.encode($0, addSpecialTokens: false) }
        case .none: joined()
        }
    }

    private static func texts(of file: URL, format: EvaluationTextFormat) throws -> [String] {
        let data = try Data(contentsOf: file)
        guard let content = String(validating: data, as: UTF8.self) else {
            throw EvaluationTextError.notUTF8(file: file.path)
        }
        switch format {
        case .plain: return [content]
        case .jsonl: return try objects(content, file: file)
        case .wikitext: return lines(content).map { $0 == " " ? "" : $0 + "\n" }
        }
    }

    private static func objects(_ content: String, file: URL) throws -> [String] {
        struct Document: Decodable {
            let text: String
        }
        let decoder = JSONDecoder()
        return try lines(content).enumerated().filter { !$0.element.isEmpty }.map { index, line in
            do {
                return try decoder.decode(Document.self, from: Data(line.utf8)).text
            } catch {
                throw EvaluationTextError.malformedLine(file: file.path, line: index + 1)
            }
        }
    }

    /// Pieces between line feeds; Swift's own idea of a line would also break at other separators inside a text.
    private static func lines(_ content: String) -> [String] {
        var lines = content.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { String(Substring($0)) }
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines
    }
}

/// A file that no text can be read from.
public enum EvaluationTextError: LocalizedError, Sendable, Equatable {
    /// Bytes that are not text.
    case notUTF8(file: String)
    /// A line that is not a JSON object with a string `text`.
    case malformedLine(file: String, line: Int)

    public var errorDescription: String? {
        switch self {
        case .notUTF8(let file): "\(file): not UTF-8 text."
        case .malformedLine(let file, let line):
            "\(file), line \(line): expected a JSON object with a string \"text\"."
        }
    }
}
