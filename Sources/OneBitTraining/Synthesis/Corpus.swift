import Foundation
import ModelDescription
import TensorFiles
import Tokenization

/// One line of a corpus file: `{"text": …, "tokens": […]}`. Either may be missing; tokens count where both are there.
struct CorpusLine: Codable {
    var text: String?
    var tokens: [Int]?
}

/// Reads the files that models are trained on: lines of JSON (`.jsonl`), or plain text as one document.
public enum Corpus {
    /// One stream of tokens, each document behind a BOS where the tokenizer has one. A document that ends with BOS, as
    /// some models mark the end, is not followed by a second.
    ///
    /// - Parameters:
    ///   - file: Lines of JSON, or plain text.
    ///   - tokenizer: Cuts the texts of lines that hold no tokens.
    ///   - closesDocuments: Whether to put the tokenizer's end-of-sequence token behind each document, so that a model in
    ///     the making learns to stop.
    ///   - includes: Which documents to take, by number.
    /// - Throws: ``TrainingError/malformedCorpus(file:line:reason:)``.
    public static func tokens(
        of file: URL, tokenizer: any Tokenizer, closesDocuments: Bool = false,
        includes: (_ document: Int) -> Bool = { _ in true }
    ) throws -> [Int32] {
        var stream: [Int32] = []
        for (index, line) in try lines(of: file).enumerated() where includes(index) {
            func malformed(_ reason: String) -> TrainingError {
                .malformedCorpus(file: file, line: index + 1, reason: reason)
            }
            guard var ids = try line.tokens ?? line.text.map({ try tokenizer.encode($0, addSpecialTokens: false) })
            else {
                throw malformed("neither text nor tokens")
            }
            if let begin = tokenizer.beginOfSequence {
                if ids.first == begin { ids.removeFirst() }
                if stream.last != Int32(begin) { stream.append(Int32(begin)) }
            }
            for id in ids {
                guard (0..<tokenizer.vocabularySize).contains(id) else {
                    throw malformed("token \(id) is outside the vocabulary of \(tokenizer.vocabularySize)")
                }
                stream.append(Int32(id))
            }
            if closesDocuments, let end = tokenizer.endOfSequence { stream.append(Int32(end)) }
        }
        return stream
    }

    /// The text of each document.
    ///
    /// - Throws: ``TrainingError/malformedCorpus(file:line:reason:)``.
    public static func documents(of file: URL) throws -> [String] {
        try lines(of: file).enumerated().map { index, line in
            guard let text = line.text else {
                throw TrainingError.malformedCorpus(file: file, line: index + 1, reason: "no text")
            }
            return text
        }
    }

    private static func lines(of file: URL) throws -> [CorpusLine] {
        let data = try Data(contentsOf: file, options: .mappedIfSafe)
        guard file.pathExtension == "jsonl" else {
            guard let text = String(validating: data, as: UTF8.self) else {
                throw TrainingError.malformedCorpus(file: file, line: 1, reason: "not UTF-8")
            }
            return [CorpusLine(text: text)]
        }
        let decoder = JSONDecoder()
        return try data.split(separator: UInt8(ascii: "\n")).enumerated().map { index, line in
            do {
                return try decoder.decode(CorpusLine.self, from: line)
            } catch {
                throw TrainingError.malformedCorpus(
                    file: file, line: index + 1, reason: "not a JSON object with text or tokens")
            }
        }
    }
}
