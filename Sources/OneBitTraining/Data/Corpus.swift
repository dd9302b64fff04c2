import Foundation
import JSON
import Synchronization
import Tokenization

/// Reads the files that models are trained on: lines of JSON (`.jsonl`), `{"text": …, "tokens": […]}` each, of which either
/// may be missing and tokens count where both are there; or plain text as one document. Both may be gzipped (`.gz`).
///
/// Files are streamed: memory is bounded by the longest line, whatever the file's size.
public enum Corpus {
    /// Which documents of a file are taken.
    public enum Selection: Sendable, Hashable {
        case all
        /// Every twentieth document, the first included, up to 2,000 documents: enough to judge a model by.
        case heldOut
        /// All others.
        case notHeldOut

        private static let interval = 20
        private static let heldOutRange = 0..<2000 * interval

        func includes(_ document: Int) -> Bool {
            let isHeldOut = document % Self.interval == 0 && Self.heldOutRange.contains(document)
            return self == .all || isHeldOut == (self == .heldOut)
        }

        /// Whether no document from here on is taken.
        func ends(at document: Int) -> Bool { self == .heldOut && !Self.heldOutRange.contains(document) }
    }

    /// How far a pass over a file is.
    public struct Progress: Sendable {
        /// Stored bytes read; of a zipped file, zipped ones.
        public let bytes: Int
        /// Stored bytes of the file.
        public let totalBytes: Int
        /// Tokens made of them.
        public let tokens: Int
    }

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
    ///   - selection: Which documents to take.
    /// - Throws: ``TrainingError/malformedCorpus(file:line:reason:)``, `JSONNodeError` where a line is not JSON,
    ///   `FileError`, `CancellationError`.
    public static func tokens(
        of file: URL, tokenizer: any Tokenizer, vocabularySize: Int, closesDocuments: Bool = false,
        selection: Selection = .all
    ) throws -> [Int32] {
        var stream: [Int32] = []
        let encoder = CorpusEncoder(
            tokenizer: tokenizer, vocabularySize: vocabularySize, closesDocuments: closesDocuments)
        try encoder.encode(file, selection: selection) { stream += $0 }
        return stream
    }

    /// The text of each document, up to so many bytes of text together: a tokenizer learns no more from the rest.
    ///
    /// - Throws: as ``tokens(of:tokenizer:vocabularySize:closesDocuments:selection:)``.
    public static func documents(of file: URL, byteLimit: Int = 256 << 20) throws -> [String] {
        var texts: [String] = []
        var bytes = 0
        var reader = try DocumentReader(file)
        while bytes < byteLimit, let piece = try reader.next() {
            guard let text = piece.text else {
                throw TrainingError.malformedCorpus(file: file, line: piece.line, reason: "no text")
            }
            bytes += text.utf8.count
            if piece.isFirst { texts.append(text) } else { texts[texts.count - 1] += text }
        }
        return texts
    }

    /// Whether a file holds lines of JSON: `.jsonl` or `.jsonl.gz`.
    public static func isJSONLines(_ file: URL) -> Bool {
        let name = file.pathExtension == "gz" ? file.deletingPathExtension() : file
        return name.pathExtension == "jsonl"
    }
}

/// Makes token streams of corpus files, on all cores.
struct CorpusEncoder {
    let tokenizer: any Tokenizer
    let vocabularySize: Int
    let closesDocuments: Bool

    /// Text that a thread encodes before it fetches more: a fraction of a second, so that a cancellation is soon seen.
    private static let groupBytes = 256 << 10

    /// Calls `body` with the tokens of a file, piece by piece.
    ///
    /// - Parameter progress: Called every few hundred kilobytes.
    func encode(
        _ file: URL, selection: Corpus.Selection = .all, progress: (Corpus.Progress) throws -> Void = { _ in },
        _ body: ([Int32]) throws -> Void
    ) throws {
        var reader = try DocumentReader(file)
        var assembly = Assembly(encoder: self, file: file)
        let workers = ProcessInfo.processInfo.activeProcessorCount
        while true {
            try Task.checkCancellation()
            let groups = try nextGroups(workers, of: &reader, selection)
            guard !groups.isEmpty else { break }
            for result in encoded(groups) {
                for (piece, ids) in try result.get() { try assembly.append(ids, of: piece) }
            }
            try body(assembly.takeTokens())
            try progress(
                Corpus.Progress(bytes: reader.position, totalBytes: reader.byteCount, tokens: assembly.tokenCount))
        }
        try assembly.finish()
        try body(assembly.takeTokens())
    }

    /// Up to `count` groups of pieces, each enough work for a thread; none at the end.
    private func nextGroups(
        _ count: Int, of reader: inout DocumentReader, _ selection: Corpus.Selection
    ) throws -> [[DocumentPiece]] {
        var groups: [[DocumentPiece]] = []
        var group: [DocumentPiece] = []
        var bytes = 0
        while groups.count < count, let piece = try reader.next() {
            if selection.ends(at: piece.document) { break }
            guard selection.includes(piece.document) else { continue }
            bytes += piece.text?.utf8.count ?? 0
            bytes += (piece.tokens?.count ?? 0) * MemoryLayout<Int>.size
            group.append(piece)
            if bytes >= Self.groupBytes {
                groups.append(group)
                (group, bytes) = ([], 0)
            }
        }
        return group.isEmpty ? groups : groups + [group]
    }

    private func encoded(_ groups: [[DocumentPiece]]) -> [Result<[(DocumentPiece, [Int])], any Error>] {
        let results = Mutex<[Int: Result<[(DocumentPiece, [Int])], any Error>]>([:])
        DispatchQueue.concurrentPerform(iterations: groups.count) { index in
            let result = Result {
                try groups[index].map { piece in
                    guard
                        let ids = try piece.tokens
                            ?? piece.text.map({ try tokenizer.encode($0, addSpecialTokens: false) })
                    else {
                        throw TrainingError.malformedCorpus(
                            file: piece.file, line: piece.line, reason: "neither text nor tokens")
                    }
                    return (piece, ids)
                }
            }
            results.withLock { $0[index] = result }
        }
        return results.withLock { results in groups.indices.compactMap { results[$0] } }
    }

    /// Puts the tokens that mark documents between the pieces' own.
    private struct Assembly {
        let encoder: CorpusEncoder
        let file: URL
        private var tokens: [Int32] = []
        /// Of the file, those taken away included.
        private(set) var tokenCount = 0
        private var last: Int32?
        /// The line of the document that is not closed yet; outer nil where all are.
        private var open: Int??

        init(encoder: CorpusEncoder, file: URL) {
            self.encoder = encoder
            self.file = file
        }

        mutating func append(_ ids: [Int], of piece: DocumentPiece) throws {
            var ids = ids[...]
            if piece.isFirst {
                try finish()
                open = .some(piece.line)
                if let begin = encoder.tokenizer.beginOfSequence {
                    if ids.first == begin { ids.removeFirst() }
                    if last.map(Int.init) != begin { try append(begin, line: piece.line) }
                }
            }
            for id in ids { try append(id, line: piece.line) }
        }

        /// Closes the last document.
        mutating func finish() throws {
            guard let line = open else { return }
            if encoder.closesDocuments, let end = encoder.tokenizer.endOfSequence { try append(end, line: line) }
            open = nil
        }

        mutating func takeTokens() -> [Int32] {
            defer { tokens = [] }
            return tokens
        }

        private mutating func append(_ id: Int, line: Int?) throws {
            guard (0..<encoder.vocabularySize).contains(id) else {
                throw TrainingError.malformedCorpus(
                    file: file, line: line,
                    reason: "token \(id) is outside the model's vocabulary of \(encoder.vocabularySize)")
            }
            tokens.append(Int32(id))
            tokenCount += 1
            last = Int32(id)
        }
    }
}

/// A document, or a part of a long text.
struct DocumentPiece: Sendable {
    let file: URL
    /// Number of the document in its file, from 0.
    let document: Int
    /// Whether the document begins with it.
    let isFirst: Bool
    var text: String?
    var tokens: [Int]?
    /// Of the file, counted from one; nil where the file is one document.
    var line: Int?
}

/// Reads a corpus file document by document. A long plain text comes in pieces of some megabytes.
///
/// A text is cut behind a line end that no white space follows. There, the tokenizers in use have a boundary of their own,
/// so that the pieces' tokens are those of the whole; one that puts a space before every text (LLaMA's of 2023) puts it before
/// each piece too.
struct DocumentReader {
    private static let pieceBytes = 4 << 20

    private let file: URL
    private var lines: JSONLines?
    private let text: InputFile?
    private var document = -1
    /// Bytes of a plain text that were read and not given away.
    private var rest: [UInt8] = []
    private var linesBefore = 0
    private var isAtEnd = false

    /// - Throws: `FileError`.
    init(_ file: URL) throws {
        self.file = file
        let isJSONLines = Corpus.isJSONLines(file)
        lines = isJSONLines ? try JSONLines(contentsOf: file) : nil
        text = isJSONLines ? nil : try InputFile(file)
    }

    /// Stored bytes read so far.
    var position: Int { lines?.position ?? text?.position ?? 0 }

    /// Stored bytes of the file.
    var byteCount: Int { lines?.byteCount ?? text?.byteCount ?? 0 }

    /// The next piece; nil at the end.
    ///
    /// - Throws: `FileError`, `JSONNodeError`, `CancellationError`.
    mutating func next() throws -> DocumentPiece? {
        try Task.checkCancellation()
        if let text { return try nextPiece(of: text) }
        guard let node = try lines?.next() else { return nil }
        _ = try node.object()
        document += 1
        return DocumentPiece(
            file: file, document: document, isFirst: true, text: try node["text"].nonNull?.string(),
            tokens: try node["tokens"].nonNull?.integers(), line: node.line)
    }

    private mutating func nextPiece(of input: InputFile) throws -> DocumentPiece? {
        let count = rest.count
        if !isAtEnd {
            rest.append(contentsOf: repeatElement(0, count: Self.pieceBytes))
            let read = try rest.withUnsafeMutableBytes {
                try input.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[count...]))
            }
            rest.removeLast(Self.pieceBytes - read)
            isAtEnd = read < Self.pieceBytes
        }
        // An empty file is an empty document.
        guard !rest.isEmpty || document < 0 else { return nil }
        let end = isAtEnd ? rest.count : Self.cut(rest)
        guard let text = String(validating: rest[..<end], as: UTF8.self) else {
            let valid = rest.withUnsafeBufferPointer { JSONReader.validPrefixLength(of: $0) }
            throw FileError.notUTF8(file: file.path, line: linesBefore + 1 + newLines(in: rest[..<valid]))
        }
        linesBefore += newLines(in: rest[..<end])
        rest.removeFirst(end)
        defer { document = 0 }
        return DocumentPiece(file: file, document: 0, isFirst: document < 0, text: text)
    }

    private func newLines(in bytes: ArraySlice<UInt8>) -> Int { bytes.count { $0 == UInt8(ascii: "\n") } }

    /// Where to cut: behind the last line end that no white space follows; without one before a space, without that
    /// between characters.
    private static func cut(_ bytes: [UInt8]) -> Int {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        let ends = bytes.indices.dropFirst().reversed()
        if let end = ends.first(where: { bytes[$0 - 1] == UInt8(ascii: "\n") && !isSpace(bytes[$0]) }) { return end }
        if let end = ends.first(where: { bytes[$0] == 0x20 && !isSpace(bytes[$0 - 1]) }) { return end }
        return ends.first { bytes[$0] & 0xC0 != 0x80 } ?? bytes.count
    }
}
