import Foundation
import Testing

/// A directory that goes away with the value that holds it.
final class TemporaryDirectory {
    let url: URL

    init() throws {
        url = FileManager.default.temporaryDirectory.appending(path: "onebit-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// Writes a file and says where.
    @discardableResult
    func write(_ data: Data, as name: String) throws -> URL {
        let file = url.appending(path: name)
        try data.write(to: file)
        return file
    }

    @discardableResult
    func write(_ text: String, as name: String) throws -> URL { try write(Data(text.utf8), as: name) }

    var entries: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() }
    }
}

/// A safetensors file from a header as text, right or wrong.
func safetensors(header: String, data: [UInt8] = []) -> Data {
    safetensors(headerBytes: Array(header.utf8), data: data)
}

func safetensors(headerBytes: [UInt8], headerLength: UInt64? = nil, data: [UInt8] = []) -> Data {
    let length = headerLength ?? UInt64(headerBytes.count)
    return withUnsafeBytes(of: length.littleEndian) { Data($0) } + headerBytes + data
}

/// Records an issue where a `guard` has to leave.
func fail(_ comment: String, sourceLocation: SourceLocation = #_sourceLocation) {
    Issue.record(Comment(rawValue: comment), sourceLocation: sourceLocation)
}
