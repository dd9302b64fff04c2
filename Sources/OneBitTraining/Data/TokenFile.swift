import Foundation
import JSON
import ModelDescription
import ModelFiles
import ResumableRuns
import TensorFiles
import Tokenization

/// A stream of token ids, as long as a disk has room for.
public protocol TokenStream: Sendable {
    var count: Int { get }
    /// Digest of the ids: equal streams have equal ones, wherever they lie.
    var digest: String { get }
    /// Calls `body` with the id at each place of a range, in order.
    ///
    /// - Throws: ``TrainingError/damagedTokenFile(file:reason:)``.
    func forEach(in range: Range<Int>, _ body: (Int) -> Void) throws
}

extension [Int32]: TokenStream {
    public var digest: String { ContentDigest(of: self).description }

    public func forEach(in range: Range<Int>, _ body: (Int) -> Void) {
        for id in self[range] { body(Int(id)) }
    }
}

/// How a corpus becomes ids. Two that describe the same have equal `key`s.
public struct CorpusEncoding: Sendable {
    let encoder: CorpusEncoder
    let selection: Corpus.Selection
    /// Digest of all that decides the ids of a text.
    let key: UInt64

    /// - Parameters:
    ///   - tokenizer: Encodes the texts of documents that hold no tokens.
    ///   - directory: Where the tokenizer's files are: with other contents, they make other ids.
    ///   - vocabularySize: Rows of the model's embedding.
    ///   - closesDocuments: Whether the end-of-sequence token is put behind each document.
    ///   - selection: Which documents are taken.
    /// - Throws: `FileError`.
    public init(
        tokenizer: any Tokenizer, directory: URL, vocabularySize: Int, closesDocuments: Bool = false,
        selection: Corpus.Selection = .all
    ) throws {
        encoder = CorpusEncoder(
            tokenizer: tokenizer, vocabularySize: vocabularySize, closesDocuments: closesDocuments)
        self.selection = selection
        var files = ContentDigest()
        for file in try tokenizerFiles(in: directory) {
            files.update(try ModelFile.contents(of: file, limit: 1 << 30))
        }
        let text = "\(files) \(vocabularySize) \(closesDocuments) \(selection) \(OneBitVersion.current)"
        key = Data(text.utf8).withUnsafeBytes { xxHash64($0) }
    }
}

/// A corpus as ids in a mapped file: a text is tokenized once, and only the pages in use are in memory.
///
/// The file holds a header of 72 bytes and the ids, all little-endian:
///
///     0   "OneBitId"
///     8   version, 1                                    UInt32
///     12  bytes of an id, 2 or 4                        UInt32
///     16  vocabulary: each id is smaller                UInt64
///     24  number of ids                                 UInt64
///     32  digest of the corpus file's contents          UInt64
///     40  its size, time and sample (`FileIdentity`)    UInt64
///     48  key of the encoding                           UInt64
///     56  digest of the ids                             UInt64
///     64  XXH64 of the bytes before                     UInt64
///
/// Size, header and every id are checked when it is opened.
public final class TokenFile: TokenStream {
    public let count: Int
    public let digest: String
    private let header: Header
    private let file: MappedFile

    /// What the digest of the ids is taken over at a time.
    static let tokensPerPiece = 1 << 20

    /// Opens a file and reads it once.
    ///
    /// - Throws: ``TrainingError/damagedTokenFile(file:reason:)``, `FileError`, `CancellationError`.
    public init(contentsOf url: URL) throws {
        file = try MappedFile(path: url.path)
        header = try Header(file.bytes, of: url)
        count = header.count
        digest = ContentDigest.description(of: header.digest)
        try validate(url)
    }

    /// The one place that knows the layout.
    private struct Header {
        static let byteCount = 72
        private static let magic = Array("OneBitId".utf8)
        private static let version: UInt32 = 1

        let idBytes: Int
        let vocabularySize: Int
        var count = 0
        let source: UInt64
        let sourceIdentity: UInt64
        let encoding: UInt64
        var digest: UInt64 = 0

        init(vocabularySize: Int, source: ContentDigest, identity: FileIdentity, encoding: UInt64) {
            idBytes = vocabularySize <= 1 << 16 ? 2 : 4
            self.vocabularySize = vocabularySize
            self.source = source.value
            sourceIdentity = Self.hash(identity)
            self.encoding = encoding
        }

        init(_ bytes: UnsafeRawBufferPointer, of url: URL) throws {
            func damaged(_ reason: String) -> TrainingError { .damagedTokenFile(file: url, reason: reason) }
            guard bytes.count >= Self.byteCount else {
                throw damaged("\(bytes.count) bytes are fewer than the header's \(Self.byteCount)")
            }
            func number<Number: FixedWidthInteger>(_ offset: Int, _ type: Number.Type) -> Number {
                Number(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
            }
            guard bytes.prefix(8).elementsEqual(Self.magic) else { throw damaged("it does not begin as one does") }
            let version = number(8, UInt32.self)
            guard version == Self.version else {
                throw damaged("its version is \(version), expected \(Self.version)")
            }
            guard number(64, UInt64.self) == xxHash64(UnsafeRawBufferPointer(rebasing: bytes[..<64])) else {
                throw damaged("the header's checksum differs")
            }
            let (width, vocabulary) = (number(12, UInt32.self), number(16, UInt64.self))
            guard width == 2 || width == 4 else { throw damaged("ids of \(width) bytes, expected 2 or 4") }
            guard vocabulary <= Int32.max else { throw damaged("a vocabulary of \(vocabulary)") }
            // Before anything is multiplied: a hostile count must not overflow.
            let room = bytes.count - Self.byteCount
            let stored = number(24, UInt64.self)
            guard room % Int(width) == 0, stored == room / Int(width) else {
                throw damaged("\(stored) ids of \(width) bytes, and room for \(room) bytes")
            }
            idBytes = Int(width)
            vocabularySize = Int(vocabulary)
            count = Int(stored)
            source = number(32, UInt64.self)
            sourceIdentity = number(40, UInt64.self)
            encoding = number(48, UInt64.self)
            digest = number(56, UInt64.self)
        }

        var data: Data {
            var data = Data(Self.magic)
            func append(_ number: some FixedWidthInteger) {
                withUnsafeBytes(of: number.littleEndian) { data.append(contentsOf: $0) }
            }
            append(Self.version)
            append(UInt32(idBytes))
            for number in [UInt64(vocabularySize), UInt64(count), source, sourceIdentity, encoding, digest] {
                append(number)
            }
            append(data.withUnsafeBytes { xxHash64($0) })
            return data
        }

        static func hash(_ identity: FileIdentity) -> UInt64 {
            Data(identity.description.utf8).withUnsafeBytes { xxHash64($0) }
        }

        /// Whether the ids are those of a file in an encoding. The contents are read where the file is another, or was touched.
        func isCurrent(_ url: URL, identity: FileIdentity, encoding: UInt64) throws -> Bool {
            guard encoding == self.encoding else { return false }
            return try Self.hash(identity) == sourceIdentity || ContentDigest(of: url).value == source
        }
    }

    // MARK: Reading

    public func forEach(in range: Range<Int>, _ body: (Int) -> Void) throws {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "\(range) of \(count) ids")
        var isValid = true
        func visit<ID: FixedWidthInteger>(_ type: ID.Type) {
            for index in range {
                let offset = Header.byteCount + index * MemoryLayout<ID>.size
                let id = Int(
                    truncatingIfNeeded: ID(littleEndian: file.bytes.loadUnaligned(fromByteOffset: offset, as: type)))
                guard id < header.vocabularySize else {
                    isValid = false
                    return
                }
                body(id)
            }
        }
        if header.idBytes == 2 { visit(UInt16.self) } else { visit(UInt32.self) }
        // Validated when it was opened: somebody has written to it since.
        guard isValid else {
            throw TrainingError.damagedTokenFile(
                file: URL(filePath: file.path), reason: "an id is outside the vocabulary of \(header.vocabularySize)")
        }
    }

    /// - Throws: ``TrainingError/damagedTokenFile(file:reason:)``, `CancellationError`.
    private func validate(_ url: URL) throws {
        var digest = ContentDigest()
        var piece: [Int32] = []
        piece.reserveCapacity(min(count, Self.tokensPerPiece))
        for first in stride(from: 0, to: count, by: Self.tokensPerPiece) {
            try Task.checkCancellation()
            let range = first..<min(first + Self.tokensPerPiece, count)
            piece.removeAll(keepingCapacity: true)
            try forEach(in: range) { piece.append(Int32($0)) }
            piece.withUnsafeBytes { digest.update($0) }
            file.release(
                Header.byteCount + range.lowerBound * header.idBytes..<Header.byteCount + range.upperBound
                    * header.idBytes)
        }
        guard digest.value == header.digest else {
            throw TrainingError.damagedTokenFile(file: url, reason: "the ids' digest differs")
        }
    }

    // MARK: Making

    /// Opens the file of a corpus's ids, and makes it where there is none, or where corpus or encoding have changed.
    ///
    /// The file is written under another name and renamed when it is whole.
    ///
    /// - Parameters:
    ///   - url: The file; its directory is made.
    ///   - corpus: Lines of JSON or plain text, also gzipped.
    ///   - encoding: How it becomes ids.
    ///   - progress: Called at the begin and then several times a second where the file is made; may throw to end that.
    /// - Throws: ``TrainingError/damagedTokenFile(file:reason:)`` where something else is in its place, and what
    ///   ``Corpus/tokens(of:tokenizer:vocabularySize:closesDocuments:selection:)`` throws.
    public static func current(
        _ url: URL, of corpus: URL, encoding: CorpusEncoding, progress: (Corpus.Progress) throws -> Void = { _ in }
    ) throws -> TokenFile {
        let identity = try FileIdentity(of: corpus)
        if FileManager.default.fileExists(atPath: url.path) {
            let file = try TokenFile(contentsOf: url)
            if try file.header.isCurrent(corpus, identity: identity, encoding: encoding.key) { return file }
        }
        try make(url, of: corpus, identity: identity, encoding: encoding, progress: progress)
        return try TokenFile(contentsOf: url)
    }

    private static func make(
        _ url: URL, of corpus: URL, identity: FileIdentity, encoding: CorpusEncoding,
        progress: (Corpus.Progress) throws -> Void
    ) throws {
        try progress(Corpus.Progress(bytes: 0, totalBytes: identity.byteCount, tokens: 0))
        var header = Header(
            vocabularySize: encoding.encoder.vocabularySize, source: try ContentDigest(of: corpus), identity: identity,
            encoding: encoding.key)
        let staged = try StagedFile(destination: url)
        var digest = ContentDigest()
        var pending: [Int32] = []
        func write(_ ids: ArraySlice<Int32>) throws {
            ids.withUnsafeBytes { digest.update($0) }
            let offset = Header.byteCount + header.count * header.idBytes
            if header.idBytes == 2 {
                try ids.map { UInt16($0).littleEndian }.withUnsafeBytes { try staged.write($0, at: offset) }
            } else {
                try ids.map { UInt32($0).littleEndian }.withUnsafeBytes { try staged.write($0, at: offset) }
            }
            header.count += ids.count
        }
        try encoding.encoder.encode(corpus, selection: encoding.selection, progress: progress) { ids in
            pending += ids
            while pending.count >= tokensPerPiece {
                try write(pending[..<tokensPerPiece])
                pending.removeFirst(tokensPerPiece)
            }
        }
        if !pending.isEmpty { try write(pending[...]) }
        header.digest = digest.value
        try header.data.withUnsafeBytes { try staged.write($0, at: 0) }
        guard try FileIdentity(of: corpus) == identity else {
            throw TrainingError.malformedCorpus(file: corpus, line: nil, reason: "it changed while it was read")
        }
        try staged.commit()
    }
}

extension ContentDigest {
    /// Of a stream of tokens, whether it lies in memory or in a ``TokenFile``.
    public init(of tokens: [Int32]) {
        self.init()
        tokens.withUnsafeBufferPointer { tokens in
            for first in stride(from: 0, to: tokens.count, by: TokenFile.tokensPerPiece) {
                let piece = tokens[first..<min(first + TokenFile.tokensPerPiece, tokens.count)]
                update(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: piece)))
            }
        }
    }
}
