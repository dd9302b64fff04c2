import Foundation
import JSON

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
        guard let url = first(of: names) else {
            throw TaskDataError.missingFile(task: task, directory: directory.path, lookedFor: names)
        }
        return url
    }

    /// The first of the files that is there, as it is or with `.gz`; nil where none is.
    func first(of names: [String]) -> URL? {
        names.lazy.flatMap { [$0, $0 + ".gz"] }.map { directory.appending(path: $0) }
            .first { FileManager.default.fileExists(atPath: $0.path) }
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
        } catch {
            let error = (error as? JSONNodeError).map(TaskDataError.init) ?? error
            guard skipsMalformed, let error = error as? TaskDataError, case .malformedItem = error else { throw error }
            malformed.append(error)
        }
    }
}

/// A question of a task, as the model sees it.
public struct TaskItem: Sendable, Hashable {
    /// A text and what may follow it.
    public struct Choice: Sendable, Hashable {
        /// What the model reads.
        public let context: String
        /// What its likelihood is asked of.
        public let continuation: String
        /// Characters (Unicode scalars, Python's `len`) that `acc_norm` divides by.
        public let length: Int

        public init(context: String, continuation: String, length: Int) {
            self.context = context
            self.continuation = continuation
            self.length = length
        }
    }

    /// Path of the file that it stands in.
    public let file: String
    /// Its line there, counted from one.
    public let line: Int
    /// The part of the task that it belongs to, where a task has parts: MMLU's subjects.
    public let subject: String?
    /// What there is to choose from; one for a text whose last word is asked for.
    public let choices: [Choice]
    /// The right one, counted from zero.
    public let answer: Int

    public init(file: String, line: Int, subject: String? = nil, choices: [Choice], answer: Int) {
        self.file = file
        self.line = line
        self.subject = subject
        self.choices = choices
        self.answer = answer
    }

    /// A context and answers that follow it behind `delimiter`.
    ///
    /// - Parameters:
    ///   - choicesKey: where in the record the choices stand, to be named when one of them is empty.
    ///   - answerKey: where the answer stands, to be named when it is none of the choices.
    /// - Throws: ``TaskDataError/malformedItem(file:line:key:reason:)``
    init(
        _ record: JSONNode, context: String, choices: [String], delimiter: String = " ", answer: Int,
        choicesKey: String, answerKey: String
    ) throws {
        guard choices.count > 1 else {
            throw record.member(choicesKey).malformed("expected two or more choices, found \(choices.count)")
        }
        guard choices.indices.contains(answer) else {
            throw record.member(answerKey).malformed(
                "the answer \(answer) is none of the choices 0 to \(choices.count - 1)")
        }
        for (index, choice) in choices.enumerated() where choice.isEmpty {
            throw record.member(choicesKey).malformed("choice \(index) is empty")
        }
        self.init(
            file: record.file, line: record.line ?? 1,
            choices: choices.map {
                Choice(context: context, continuation: delimiter + $0, length: $0.unicodeScalars.count)
            },
            answer: answer)
    }
}

/// What is wrong with the data of a task.
public enum TaskDataError: LocalizedError, Sendable, Equatable {
    /// None of the files that would hold the task's items is there.
    case missingFile(task: String, directory: String, lookedFor: [String])
    /// An item that cannot be asked. `key` is where in the item; empty where it is the whole of it.
    case malformedItem(file: String, line: Int, key: String, reason: String)
    /// A file without one item.
    case noItems(file: String)
    /// A subject with fewer examples than are to be shown.
    case tooFewExamples(file: String, subject: String, wanted: Int, found: Int)

    public var errorDescription: String? {
        switch self {
        case .missingFile(let task, let directory, let lookedFor):
            "\(directory): no data for the task \(task). Looked for \(lookedFor.joined(separator: ", ")), each also "
                + "with .gz."
        case .malformedItem(let file, let line, let key, let reason):
            "\(file), line \(line)\(key.isEmpty ? "" : ", key \"\(key)\""): \(reason)."
        case .noItems(let file):
            "\(file): no items."
        case .tooFewExamples(let file, let subject, let wanted, let found):
            "\(file): \(found) examples of \(subject), and \(wanted) are to be shown. Ask for fewer shots."
        }
    }

    public var recoverySuggestion: String? {
        guard case .malformedItem = self else { return nil }
        return "Correct the item, or leave malformed ones out."
    }
}

extension TaskDataError {
    /// What is wrong with a line of a file.
    fileprivate init(_ error: JSONNodeError) {
        self = .malformedItem(file: error.file, line: error.line ?? 1, key: error.key, reason: error.reason)
    }
}

extension JSONNode {
    /// The member `key`; this node itself for an empty key, which names the whole of an item.
    func member(_ key: String) -> JSONNode { key.isEmpty ? self : self[key] }

    /// A whole number, also one that is written as a string: data sets are of two minds about labels.
    func label() throws -> Int {
        if case .string(let text)? = value, let number = Int(text) { return number }
        return try integer()
    }
}

/// A task whose items are the lines of one file of JSON objects.
protocol JSONLinesTask: EvaluationTask {
    /// Names that the file may have in the directory of the data sets.
    var fileNames: [String] { get }

    /// - Throws: `JSONNodeError`
    func item(from record: JSONNode) throws -> TaskItem
}

extension JSONLinesTask {
    public var scoring: TaskScoring { .multipleChoice }

    public func items(from source: TaskDataSource) throws -> TaskItems {
        try items(of: try source.file(of: name, names: fileNames), source: source)
    }

    func items(of url: URL, source: TaskDataSource) throws -> TaskItems {
        var result = TaskItems()
        var lines = try JSONLines(contentsOf: url)
        var isAtEnd = false
        while !isAtEnd && result.items.count != source.limit {
            try result.append(skipsMalformed: source.skipsMalformed) {
                guard let record = try lines.next() else {
                    isAtEnd = true
                    return nil
                }
                _ = try record.object()
                return try item(from: record)
            }
        }
        guard !result.items.isEmpty else { throw TaskDataError.noItems(file: url.path) }
        return result
    }
}
