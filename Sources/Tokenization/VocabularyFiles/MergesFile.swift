import Foundation

extension MergeList {
    /// Reads `merges.txt`: a merge a line, after a line that says `#version`.
    init(mergesFile url: URL) throws {
        let data = try readTokenizerFile(at: url)
        guard String(validating: data, as: UTF8.self) != nil else {
            throw TokenizerError.malformed(file: url.path, key: "", reason: "not valid UTF-8")
        }
        let hasVersion = data.starts(with: "#version".utf8)
        self.init(file: url.path) { "line \($0 + (hasVersion ? 2 : 1))" }
        try data.withUnsafeBytes { bytes in
            var rest = bytes[...]
            if hasVersion { _ = Self.popLine(&rest) }
            while let line = Self.popLine(&rest) { try appendSpaced { $0.append(contentsOf: line) } }
        }
    }

    /// The next line, without its end; nil after the last.
    private static func popLine(_ rest: inout Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer>? {
        if rest.isEmpty { return nil }
        let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
        defer { rest = rest[min(end + 1, rest.endIndex)...] }
        let line = rest[..<end]
        return line.last == UInt8(ascii: "\r") ? line.dropLast() : line
    }
}
