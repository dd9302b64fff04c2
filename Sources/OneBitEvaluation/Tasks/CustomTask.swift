import Foundation
import ModelDescription
import TensorFiles

/// A user's own multiple-choice questions, described by a small JSON file:
///
///     {
///       "name": "capitals",
///       "data": "capitals.jsonl",
///       "context": "Question: {question}\nAnswer:",
///       "choices": "options",
///       "answer": "correct"
///     }
///
/// | key | meaning |
/// |---|---|
/// | `name` | what the task is called in tables |
/// | `data` | JSON lines, gzip or not, beside the task file |
/// | `context` | what the model reads; `{key}` is the item's value of that key |
/// | `choices` | the key of the item's list of choices, or a list of templates such as `["{sol1}", "{sol2}"]` |
/// | `answer` | the key of the right choice: its number from 0, true or false (choice 1 or 0), its label where there are `labels`, or its text |
/// | `labels` | optional: a list such as `["A", "B", "C", "D"]`, or the key of the item's list of labels |
/// | `delimiter` | optional: what stands between context and choice; a space |
/// | `metric` | optional: `acc` or `acc_norm`, the one that stands in tables; `acc_norm` |
public struct CustomTask: JSONLinesTask {
    /// A list that stands in the item under a key, or in the task file.
    private enum List<Element: Sendable>: Sendable {
        case key(String)
        case elements([Element])
    }

    public let name: String
    public var title: String { name }
    public let tableMetric: TaskMetric
    let fileNames: [String]
    private let directory: URL
    private let context: PromptTemplate
    private let choices: List<PromptTemplate>
    private let answer: String
    private let labels: List<String>?
    private let delimiter: String

    /// Reads a task file.
    ///
    /// - Throws: ``TaskFileError``, `FileError`
    public init(contentsOf url: URL) throws {
        let file = try TaskFile(contentsOf: url)
        name = try file.string("name")
        directory = url.deletingLastPathComponent()
        fileNames = [try file.string("data")]
        context = try file.template("context")
        switch file.value("choices") {
        case .string(let key)?: choices = .key(key)
        case .array?: choices = .elements(try file.templates("choices"))
        default: throw file.mismatch("choices", "a key, or a list of templates")
        }
        answer = try file.string("answer")
        switch file.value("labels") {
        case nil: labels = nil
        case .string(let key)?: labels = .key(key)
        default: labels = .elements(try file.strings("labels"))
        }
        delimiter = try file.optionalString("delimiter") ?? " "
        let metric = try file.optionalString("metric") ?? TaskMetric.normalizedAccuracy.rawValue
        guard let metric = TaskMetric(rawValue: metric), TaskScoring.multipleChoice.metrics.contains(metric) else {
            throw file.mismatch("metric", "acc or acc_norm")
        }
        tableMetric = metric
    }

    /// The items lie beside the task file, wherever the data sets lie.
    public func items(from source: TaskDataSource) throws -> TaskItems {
        var source = source
        source.directory = directory
        return try items(of: try source.file(of: name, names: fileNames), source: source)
    }

    func item(from record: JSONRecord) throws -> TaskItem {
        let (texts, choicesKey): ([String], String) =
            switch choices {
            case .key(let key): (try record.strings(key), key)
            case .elements(let templates): (try templates.map { try $0.filled(from: record) }, "")
            }
        return try TaskItem(
            record, context: context.filled(from: record), choices: texts, delimiter: delimiter,
            answer: index(of: texts, in: record), choicesKey: choicesKey, answerKey: answer)
    }

    private func index(of choices: [String], in record: JSONRecord) throws -> Int {
        let labels: [String]? =
            switch self.labels {
            case .key(let key)?: try record.strings(key)
            case .elements(let labels)?: labels
            case nil: nil
            }
        switch record.value(answer) {
        case .integer(let index)? where labels == nil: return index
        case .boolean(let isTrue)? where labels == nil: return isTrue ? 1 : 0
        case .string(let text)?:
            guard let index = (labels ?? choices).firstIndex(of: text) else {
                throw record.malformed(
                    answer, "\"\(text.prefix(64))\" is none of the \(labels == nil ? "choices" : "labels")")
            }
            return index
        default:
            throw record.mismatch(answer, labels == nil ? "a number, true or false, or a choice's text" : "a label")
        }
    }
}
