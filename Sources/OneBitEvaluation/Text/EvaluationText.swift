import Foundation

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
    /// - Throws: ``EvaluationTextError``, and `FileError`.
    public init(file: URL, format: EvaluationTextFormat? = nil, limit: Int = .max) throws {
        texts = try Self.texts(of: file, format: format ?? EvaluationTextFormat(of: file), limit: limit)
        name = file.lastPathComponent
    }

    private static func texts(of file: URL, format: EvaluationTextFormat, limit: Int) throws -> [String] {
        guard let content = String(validating: try DataFile(contentsOf: file).contents, as: UTF8.self) else {
            throw EvaluationTextError.notUTF8(file: file.path)
        }
        switch format {
        case .plain: return [content]
        case .jsonl: return try objects(content, file: file, limit: limit)
        case .wikitext: return lines(content).prefix(limit).map { $0 == " " ? "" : $0 + "\n" }
        }
    }

    private static func objects(_ content: String, file: URL, limit: Int) throws -> [String] {
        struct Document: Decodable {
            let text: String
        }
        let decoder = JSONDecoder()
        return try lines(content).enumerated().filter { !$0.element.allSatisfy(\.isWhitespace) }.prefix(limit).map {
            index, line in
            do {
                return try decoder.decode(Document.self, from: Data(line.utf8)).text
            } catch {
                throw EvaluationTextError.malformedLine(file: file.path, line: index + 1)
            }
        }
    }

    /// Pieces between line ends, LF or CRLF: both formats of lines mean the same on every system. Swift's own idea of a line
    /// would also break at other separators inside a text.
    private static func lines(_ content: String) -> [String] {
        var lines = content.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .map { String(Substring($0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0)) }
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines
    }
}
