import Foundation
import JSON
import Tokenization

/// Reads the files that models are trained on: lines of JSON (`.jsonl`), `{"text": …, "tokens": […]}` each, of which either
/// may be missing and tokens count where both are there; or plain text as one document. Both may be gzipped (`.gz`).
public enum Corpus {
    /// One stream of tokens, each document behind a BOS where the tokenizer has one. A document that ends with BOS, as
    /// some models mark the end, is not followed by a second.
    ///
    /// - Parameters:
    ///   - file: Lines of JSON, or plain text.
    ///   - tokenizer: Encodes the texts of lines that hold no tokens.
    ///   - vocabularySize: Rows of the model's embedding, which may be more or fewer than the tokenizer has tokens: models
    ///     pad their tables.
    ///   - closesDocuments: Whether to put the tokenizer's end-of-sequence token behind each document, so that a model
    ///     trained from random weights learns to stop.
    ///   - includes: Which documents to take, by number.
    /// - Throws: ``TrainingError/malformedCorpus(file:line:reason:)``, `JSONNodeError` where a line is not JSON,
    ///   `FileError`, `CancellationError`.
    public static func tokens(
        of file: URL, tokenizer: any Tokenizer, vocabularySize: Int, closesDocuments: Bool = false,
        includes: (_ document: Int) -> Bool = { _ in true }
    ) throws -> [Int32] {
        var stream: [Int32] = []
        func append(_ id: Int, line: Int?) throws {
            guard (0..<vocabularySize).contains(id) else {
                throw TrainingError.malformedCorpus(
                    file: file, line: line,
                    reason: "token \(id) is outside the model's vocabulary of \(vocabularySize)")
            }
            stream.append(Int32(id))
        }
        try forEachDocument(of: file) { number, document in
            guard includes(number) else { return }
            guard
                var ids = try document.tokens
                    ?? document.text.map({ try tokenizer.encode($0, addSpecialTokens: false) })
            else {
                throw TrainingError.malformedCorpus(file: file, line: document.line, reason: "neither text nor tokens")
            }
            if let begin = tokenizer.beginOfSequence {
                if ids.first == begin { ids.removeFirst() }
                if stream.last.map(Int.init) != begin { try append(begin, line: document.line) }
            }
            for id in ids { try append(id, line: document.line) }
            if closesDocuments, let end = tokenizer.endOfSequence { try append(end, line: document.line) }
        }
        return stream
    }

    /// The text of each document.
    ///
    /// - Throws: as ``tokens(of:tokenizer:vocabularySize:closesDocuments:includes:)``.
    public static func documents(of file: URL) throws -> [String] {
        var texts: [String] = []
        try forEachDocument(of: file) { _, document in
            guard let text = document.text else {
                throw TrainingError.malformedCorpus(file: file, line: document.line, reason: "no text")
            }
            texts.append(text)
        }
        return texts
    }

    /// Whether a file holds lines of JSON: `.jsonl` or `.jsonl.gz`.
    public static func isJSONLines(_ file: URL) -> Bool {
        let name = file.pathExtension == "gz" ? file.deletingPathExtension() : file
        return name.pathExtension == "jsonl"
    }

    private struct Document {
        var text: String?
        var tokens: [Int]?
        /// Counted from one; nil where the file is one document.
        var line: Int?
    }

    private static func forEachDocument(of file: URL, _ body: (_ number: Int, Document) throws -> Void) throws {
        guard isJSONLines(file) else {
            try body(0, Document(text: try readText(of: file)))
            return
        }
        var lines = try JSONLines(contentsOf: file)
        var number = 0
        while let node = try lines.next() {
            try Task.checkCancellation()
            _ = try node.object()
            let document = Document(
                text: try node["text"].nonNull?.string(), tokens: try node["tokens"].nonNull?.integers(),
                line: node.line)
            try body(number, document)
            number += 1
        }
    }
}
