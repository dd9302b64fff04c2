import Foundation
import JSON

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
    /// - Throws: `JSONNodeError`, `FileError`
    public init(contentsOf url: URL) throws {
        let file = try JSONNode(contentsOf: url, limit: 1 << 20)
        let keys = ["name", "data", "context", "choices", "answer", "labels", "delimiter", "metric"]
        for (key, node) in try file.members() where !keys.contains(key) {
            throw node.malformed("no such key; a task has \(keys.joined(separator: ", "))")
        }
        func text(_ key: String) throws -> String {
            let text = try file[key].string()
            guard !text.isEmpty else { throw file[key].mismatch("a string that is not empty") }
            return text
        }
        func list(_ key: String) throws -> [String] {
            let texts = try file[key].strings()
            guard !texts.isEmpty else { throw file[key].malformed("the list is empty") }
            return texts
        }
        name = try text("name")
        directory = url.deletingLastPathComponent()
        fileNames = [try text("data")]
        context = try PromptTemplate(text("context"), of: file["context"])
        switch file["choices"].value {
        case .string(let key)?: choices = .key(key)
        case .array?: choices = .elements(try list("choices").map { try PromptTemplate($0, of: file["choices"]) })
        default: throw file["choices"].mismatch("a key, or a list of templates")
        }
        answer = try text("answer")
        switch file["labels"].value {
        case nil: labels = nil
        case .string(let key)?: labels = .key(key)
        default: labels = .elements(try list("labels"))
        }
        delimiter = try file["delimiter"].nonNull?.string() ?? " "
        let metric = try file["metric"].nonNull?.string() ?? TaskMetric.normalizedAccuracy.rawValue
        guard let metric = TaskMetric(rawValue: metric), TaskScoring.multipleChoice.metrics.contains(metric) else {
            throw file["metric"].mismatch("acc or acc_norm")
        }
        tableMetric = metric
    }

    /// The items lie beside the task file, wherever the data sets lie.
    public func items(from source: TaskDataSource) throws -> TaskItems {
        var source = source
        source.directory = directory
        return try items(of: try source.file(of: name, names: fileNames), source: source)
    }

    func item(from record: JSONNode) throws -> TaskItem {
        let (texts, choicesKey): ([String], String) =
            switch choices {
            case .key(let key): (try record[key].strings(), key)
            case .elements(let templates): (try templates.map { try $0.filled(from: record) }, "")
            }
        return try TaskItem(
            record, context: context.filled(from: record), choices: texts, delimiter: delimiter,
            answer: index(of: texts, in: record), choicesKey: choicesKey, answerKey: answer)
    }

    private func index(of choices: [String], in record: JSONNode) throws -> Int {
        let labels: [String]? =
            switch self.labels {
            case .key(let key)?: try record[key].strings()
            case .elements(let labels)?: labels
            case nil: nil
            }
        switch record[answer].value {
        case .integer(let index)? where labels == nil: return index
        case .boolean(let isTrue)? where labels == nil: return isTrue ? 1 : 0
        case .string(let text)?:
            guard let index = (labels ?? choices).firstIndex(of: text) else {
                throw record[answer].malformed(
                    "\"\(text.prefix(64))\" is none of the \(labels == nil ? "choices" : "labels")")
            }
            return index
        default:
            throw record[answer].mismatch(labels == nil ? "a number, true or false, or a choice's text" : "a label")
        }
    }
}

/// Text with the values of an item's keys in it: `Question: {question}\nAnswer:`. Two braces stand for one.
struct PromptTemplate: Sendable, Equatable {
    private enum Part: Sendable, Equatable {
        case text(String)
        case key(String)
    }

    private let parts: [Part]

    /// - Parameters:
    ///   - template: text and keys.
    ///   - node: where it stands.
    /// - Throws: `JSONNodeError`
    init(_ template: String, of node: JSONNode) throws {
        var parts: [Part] = []
        var text = String.UnicodeScalarView()
        var rest = template.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            switch scalar {
            case "{", "}":
                if rest.first == scalar {
                    text.append(scalar)
                    rest.removeFirst()
                    continue
                }
                guard scalar == "{", let close = rest.firstIndex(of: "}") else {
                    throw node.malformed("a brace stands alone; write {{ or }} for a brace of the text")
                }
                let key = String(rest[..<close])
                guard !key.isEmpty, !key.unicodeScalars.contains("{") else {
                    throw node.malformed("expected a key between { and }, found \"\(key.prefix(64))\"")
                }
                if !text.isEmpty { parts.append(.text(String(text))) }
                text = .init()
                parts.append(.key(key))
                rest = rest[rest.index(after: close)...]
            default: text.append(scalar)
            }
        }
        if !text.isEmpty { parts.append(.text(String(text))) }
        self.parts = parts
    }

    /// - Throws: `JSONNodeError` where a key has neither a string nor a whole number.
    func filled(from record: JSONNode) throws -> String {
        try parts.map { part in
            switch part {
            case .text(let text): return text
            case .key(let key):
                if case .integer(let number)? = record[key].value { return String(number) }
                return try record[key].string()
            }
        }.joined()
    }
}
