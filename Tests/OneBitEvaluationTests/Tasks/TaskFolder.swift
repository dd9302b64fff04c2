import Foundation
import JSON

@testable import OneBitEvaluation

/// A directory of data sets that goes away with it.
final class TaskFolder {
    let url: URL

    /// - Parameter files: contents by name; names may have folders in front.
    init(_ files: [String: String] = [:]) throws {
        url = FileManager.default.temporaryDirectory.appending(path: "onebit-tasks-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        for (name, contents) in files { try write(Data(contents.utf8), to: name) }
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    func write(_ data: Data, to name: String) throws {
        let file = url.appending(path: name)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: file)
    }

    func path(_ name: String) -> String { url.appending(path: name).path }

    func items(
        of task: any EvaluationTask, limit: Int? = nil, skipsMalformed: Bool = false
    ) throws -> TaskItems {
        try task.items(from: TaskDataSource(directory: url, limit: limit, skipsMalformed: skipsMalformed))
    }
}

/// The item that stands on a line.
func record(_ line: String, file: String) throws -> JSONNode {
    try Array(line.utf8).withUnsafeBytes { try JSONNode(parsing: $0, file: file, line: 1) }
}
