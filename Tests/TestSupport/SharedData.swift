import Foundation

/// The reference data that other people's tools made. It lies beside the project, not in it, and only ConformanceTests read
/// it.
package enum SharedData {
    package static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "../shared").standardizedFileURL

    /// False on a machine that has the project alone: conformance tests then skip, and say so.
    package static var isPresent: Bool {
        FileManager.default.fileExists(atPath: root.appending(path: "data/reference").path)
    }

    package static func url(_ path: String) -> URL { root.appending(path: path) }
}
