import Foundation

/// The reference data that other people's tools made. It lies beside the project, not in it.
enum SharedData {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "../shared").standardizedFileURL

    /// False on a machine that has the project alone: conformance tests then skip, and say so.
    static var isPresent: Bool {
        FileManager.default.fileExists(atPath: root.appending(path: "data/reference").path)
    }

    static func url(_ path: String) -> URL { root.appending(path: path) }
}
