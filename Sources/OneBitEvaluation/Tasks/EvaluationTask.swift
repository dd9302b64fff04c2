import Foundation

/// A test that a model takes: where its items lie, how an item becomes text, what counts.
///
/// Prompts and measures are those of EleutherAI's lm-evaluation-harness 0.4.13, and so are the names.
public protocol EvaluationTask: Sendable {
    /// The harness's name of it.
    var name: String { get }
    /// The title of its column in a table.
    var title: String { get }
    /// What an item is scored by.
    var scoring: TaskScoring { get }
    /// The measure that stands in a table.
    var tableMetric: TaskMetric { get }

    /// Reads the items from local files.
    ///
    /// - Throws: ``TaskDataError``, `FileError`
    func items(from source: TaskDataSource) throws -> TaskItems
}

/// What an item asks of the model.
public enum TaskScoring: Sendable {
    /// The right choice is to be the likeliest.
    case multipleChoice
    /// The one continuation is to be what greedy decoding writes.
    case continuation
}

/// Where items are read from, and which of them.
public struct TaskDataSource: Sendable {
    /// The directory of the data sets.
    public var directory: URL
    /// Most items to read, from the front; of every subject where a task has subjects. Nil is all.
    public var limit: Int?
    /// Leaves malformed items out; otherwise the first one is an error.
    public var skipsMalformed: Bool

    public init(directory: URL, limit: Int? = nil, skipsMalformed: Bool = false) {
        self.directory = directory
        self.limit = limit
        self.skipsMalformed = skipsMalformed
    }

    /// The first of the files that is there.
    ///
    /// - Throws: ``TaskDataError/missingFile(task:directory:lookedFor:)``
    func file(of task: String, names: [String]) throws -> URL {
        guard let url = DataFile.first(of: names, in: directory) else {
            throw TaskDataError.missingFile(task: task, directory: directory.path, lookedFor: names)
        }
        return url
    }
}

/// The items of a task, and those that were left out.
public struct TaskItems: Sendable {
    /// In the order of the file.
    public private(set) var items: [TaskItem] = []
    /// What was wrong with the items that were skipped.
    public private(set) var malformed: [TaskDataError] = []

    public init() {}

    /// Adds an item that `make` may find malformed, or not wanted (nil).
    mutating func append(skipsMalformed: Bool, _ make: () throws -> TaskItem?) throws {
        do {
            if let item = try make() { items.append(item) }
        } catch let error as TaskDataError {
            guard skipsMalformed, case .malformedItem = error else { throw error }
            malformed.append(error)
        }
    }
}
