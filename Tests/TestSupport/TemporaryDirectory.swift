import Foundation
import Testing

/// A directory that goes away with the value that holds it.
package final class TemporaryDirectory: Sendable {
    package let url: URL

    /// A new directory that holds `files`.
    package init(_ files: [String: Data] = [:]) throws {
        url = FileManager.default.temporaryDirectory.appending(path: "onebit-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        for (name, data) in files { try write(data, as: name) }
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    package var path: String { url.path }

    /// Where a file of that name is, or would be.
    package func file(_ name: String) -> URL { url.appending(path: name) }

    /// Writes a file and says where.
    @discardableResult
    package func write(_ data: Data, as name: String) throws -> URL {
        let file = file(name)
        try data.write(to: file)
        return file
    }

    @discardableResult
    package func write(_ text: String, as name: String) throws -> URL { try write(Data(text.utf8), as: name) }

    /// Names of what is in it, sorted.
    package var entries: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: url.path).sorted() }
    }
}

/// Records an issue where a `guard` has to leave.
package func fail(_ comment: String, sourceLocation: SourceLocation = #_sourceLocation) {
    Issue.record(Comment(rawValue: comment), sourceLocation: sourceLocation)
}
