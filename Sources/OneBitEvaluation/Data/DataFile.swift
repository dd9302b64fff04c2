import Foundation
import JSON

/// A file of a data set, unzipped where it was zipped.
struct DataFile {
    /// Bytes that a file may have, unzipped or not. HellaSwag, the largest of the sets, has 12 MB.
    private static let limit = 512 << 20

    let url: URL
    let contents: Data

    /// - Throws: ``TaskDataError``, `FileError`
    init(contentsOf url: URL) throws {
        self.url = url
        contents = try readContents(of: url, limit: Self.limit)
    }

    /// The first of the files that is there, as it is or with `.gz`; nil where none is.
    static func first(of names: [String], in directory: URL) -> URL? {
        names.lazy.flatMap { [$0, $0 + ".gz"] }.map { directory.appending(path: $0) }
            .first { FileManager.default.fileExists(atPath: $0.path) }
    }

    /// The lines of the file that are not blank.
    var lines: DataLines { DataLines(file: url.path, rest: contents) }
}

/// A line of a file, with its number counted from one.
struct DataLine {
    let file: String
    let number: Int
    let bytes: Data

    /// The JSON object that stands on the line.
    ///
    /// - Throws: ``TaskDataError/malformedItem(file:line:key:reason:)``
    func record() throws -> JSONRecord { try JSONRecord(parsing: bytes, file: file, line: number) }
}

/// Goes through a file line by line.
struct DataLines: Sequence, IteratorProtocol {
    let file: String
    fileprivate var rest: Data
    private var number = 0

    fileprivate init(file: String, rest: Data) {
        self.file = file
        self.rest = rest
    }

    mutating func next() -> DataLine? {
        while !rest.isEmpty {
            number += 1
            let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
            let bytes = rest[..<end]
            rest = rest[end...].dropFirst()
            let isBlank = bytes.allSatisfy { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") }
            if !isBlank { return DataLine(file: file, number: number, bytes: bytes) }
        }
        return nil
    }
}
