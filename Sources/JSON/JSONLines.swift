import Foundation

/// Reads a file of JSON lines (`.jsonl`), plain or gzipped, one value at a time; memory is bounded by the longest line.
///
///     var lines = try JSONLines(contentsOf: url)
///     while let node = try lines.next() { texts.append(try node["text"].string()) }
///
/// Blank lines hold no value and are counted: a node's `line` is what an editor shows.
package struct JSONLines {
    private var lines: TextLines
    private let duplicateKeys: DuplicateKeys

    /// - Throws: ``FileError``
    package init(
        contentsOf url: URL, duplicateKeys: DuplicateKeys = .refused,
        maximumLineBytes: Int = TextLines.defaultMaximumLineBytes
    ) throws {
        lines = try TextLines(contentsOf: url, maximumLineBytes: maximumLineBytes)
        self.duplicateKeys = duplicateKeys
    }

    /// Stored bytes that have been read so far.
    package var position: Int { lines.position }
    /// Bytes of the file as it is stored.
    package var byteCount: Int { lines.byteCount }

    /// The value of the next line that is not blank; nil at the end.
    ///
    /// - Throws: ``JSONNodeError`` where a line is not JSON, ``FileError``, `CancellationError`.
    package mutating func next() throws -> JSONNode? {
        while let line = try lines.next() {
            guard !line.isBlank else { continue }
            return try line.bytes.withUnsafeBytes {
                try JSONNode(parsing: $0, file: lines.file, line: line.number, duplicateKeys: duplicateKeys)
            }
        }
        return nil
    }
}

/// Reads a file line by line, plain or gzipped. Lines end with a line feed, or with a carriage return and a line feed,
/// neither of which is part of them.
package struct TextLines {
    /// A line of text.
    package struct Line {
        /// Counted from one.
        package let number: Int
        package let bytes: ArraySlice<UInt8>

        /// Whether it is empty but for spaces and tabs.
        package var isBlank: Bool {
            bytes.allSatisfy { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }
        }
    }

    /// A sample of 2,048 tokens takes 20 kB; nothing that is read here comes near this.
    package static let defaultMaximumLineBytes = 64 << 20
    private static let chunkBytes = 1 << 20

    let file: String
    private let input: InputFile
    private let maximumLineBytes: Int
    private var buffer: [UInt8] = []
    /// Where the next line begins in the buffer.
    private var start = 0
    private var number = 0
    private var isAtEnd = false

    /// - Throws: ``FileError``
    package init(contentsOf url: URL, maximumLineBytes: Int = defaultMaximumLineBytes) throws {
        file = url.path
        input = try InputFile(url)
        self.maximumLineBytes = maximumLineBytes
    }

    /// Stored bytes that have been read so far.
    package var position: Int { input.position }
    /// Bytes of the file as it is stored.
    package var byteCount: Int { input.byteCount }

    /// The next line; nil at the end.
    ///
    /// - Throws: ``FileError``, `CancellationError`.
    package mutating func next() throws -> Line? {
        var searched = start
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                return try line(endingAt: end, start: end + 1)
            }
            searched = buffer.count
            guard buffer.count - start <= maximumLineBytes else { throw tooLong }
            if isAtEnd { return start < buffer.count ? try line(endingAt: buffer.count, start: buffer.count) : nil }
            searched -= start
            try fill()
        }
    }

    private var tooLong: FileError { .lineTooLong(file: file, line: number + 1, limit: maximumLineBytes) }

    private mutating func line(endingAt end: Int, start next: Int) throws -> Line {
        var bytes = buffer[start..<end]
        guard bytes.count <= maximumLineBytes else { throw tooLong }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        start = next
        number += 1
        return Line(number: number, bytes: bytes)
    }

    /// Moves what is left to the front of the buffer and reads on behind it.
    private mutating func fill() throws {
        try Task.checkCancellation()
        buffer.removeFirst(start)
        start = 0
        let count = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: Self.chunkBytes))
        let read = try buffer.withUnsafeMutableBytes { bytes in
            try input.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[count...]))
        }
        buffer.removeLast(Self.chunkBytes - read)
        isAtEnd = read == 0
    }
}
