import Foundation

/// A task whose items are the lines of one file of JSON objects.
protocol JSONLinesTask: EvaluationTask {
    /// Names that the file may have in the directory of the data sets.
    var fileNames: [String] { get }

    /// - Throws: ``TaskDataError/malformedItem(file:line:key:reason:)``
    func item(from record: JSONRecord) throws -> TaskItem
}

extension JSONLinesTask {
    public var scoring: TaskScoring { .multipleChoice }

    public func items(from source: TaskDataSource) throws -> TaskItems {
        try items(of: try source.file(of: name, names: fileNames), source: source)
    }

    func items(of url: URL, source: TaskDataSource) throws -> TaskItems {
        var result = TaskItems()
        for line in try DataFile(contentsOf: url).lines {
            try result.append(skipsMalformed: source.skipsMalformed) { try item(from: line.record()) }
            if result.items.count == source.limit { break }
        }
        guard !result.items.isEmpty else { throw TaskDataError.noItems(file: url.path) }
        return result
    }
}
