import Foundation
import JSON

/// MMLU (Hendrycks et al., 2021): questions of 57 subjects, four answers each, the answer a letter.
///
/// A context names the subject, shows examples of its development set where there are to be any, and ends with the
/// question. Accuracy is the mean over all items; ``TaskResult`` also has every subject's.
public struct MMLU: EvaluationTask {
    /// Examples that a context shows, the first of the subject's development set; it has five.
    public let shots: Int

    public let name = "mmlu"
    public var title: String { shots == 0 ? "MMLU" : "MMLU (\(shots)-shot)" }
    public let scoring = TaskScoring.multipleChoice
    public let tableMetric = TaskMetric.accuracy

    /// - Parameter shots: 0 to 5.
    public init(shots: Int = 0) {
        precondition((0...5).contains(shots), "MMLU has 0 to 5 examples")
        self.shots = shots
    }

    public func items(from source: TaskDataSource) throws -> TaskItems {
        let files = try MMLUFiles(in: source.directory)
        var examples: [String: String] = [:]
        if shots > 0 { examples = try self.examples(in: files.development) }
        var counts: [String: Int] = [:]
        var result = TaskItems()
        for file in files.test {
            for question in try file.questions() {
                try result.append(skipsMalformed: source.skipsMalformed) {
                    let question = try question()
                    let subject = question.subject
                    // A subject's items need not stand together: all are read, those beyond the limit are left out.
                    guard counts[subject, default: 0] < source.limit ?? .max else { return nil }
                    guard shots == 0 || examples[subject] != nil else {
                        throw TaskDataError.tooFewExamples(
                            file: files.developmentPath, subject: subject, wanted: shots, found: 0)
                    }
                    counts[subject, default: 0] += 1
                    return question.item(behind: examples[subject] ?? "")
                }
            }
        }
        guard !result.items.isEmpty else { throw TaskDataError.noItems(file: files.testPath) }
        return result
    }

    /// The first `shots` questions of every subject with their answers, an empty line behind each.
    private func examples(in files: [MMLUFile]) throws -> [String: String] {
        var shown: [String: [MMLUQuestion]] = [:]
        for file in files {
            for question in try file.questions() {
                let question = try question()
                if shown[question.subject, default: []].count < shots {
                    shown[question.subject, default: []].append(question)
                }
            }
        }
        return try shown.mapValues { questions in
            guard questions.count == shots else {
                throw TaskDataError.tooFewExamples(
                    file: questions[0].file, subject: questions[0].subject, wanted: shots, found: questions.count)
            }
            return questions.map(\.example).joined()
        }
    }
}

/// A question with four answers.
struct MMLUQuestion {
    static let letters = ["A", "B", "C", "D"]

    let file: String
    let line: Int
    /// Words joined by underscores: `high_school_physics`.
    let subject: String
    let question: String
    let choices: [String]
    let answer: Int

    private var prompt: String {
        let lines = zip(Self.letters, choices).map { "\n\($0). \($1)" }.joined()
        return PythonText.strip(question) + lines + "\nAnswer:"
    }

    var example: String { "\(prompt) \(Self.letters[answer])\n\n" }

    func item(behind examples: String) -> TaskItem {
        let topic = subject.replacing("_", with: " ")
        let context =
            "The following are multiple choice questions (with answers) about \(topic).\n\n\(examples)\(prompt)"
        return TaskItem(
            file: file, line: line, subject: subject,
            choices: Self.letters.map { TaskItem.Choice(context: context, continuation: " " + $0, length: 1) },
            answer: answer)
    }
}

/// Where MMLU lies: as its authors pack it, `mmlu/test/SUBJECT_test.csv` and `mmlu/dev/SUBJECT_dev.csv`, or as lines of
/// JSON with their subject, `mmlu_test.jsonl` and `mmlu_dev.jsonl`.
struct MMLUFiles {
    let test: [MMLUFile]
    let development: [MMLUFile]
    let testPath: String
    let developmentPath: String

    /// - Throws: ``TaskDataError/missingFile(task:directory:lookedFor:)``, and what reading a directory throws.
    init(in directory: URL) throws {
        let tables = directory.appending(path: "mmlu")
        if FileManager.default.fileExists(atPath: tables.appending(path: "test").path) {
            testPath = tables.appending(path: "test").path
            developmentPath = tables.appending(path: "dev").path
            test = try Self.tables(in: tables, part: "test")
            development = try Self.tables(in: tables, part: "dev")
            return
        }
        let source = TaskDataSource(directory: directory)
        guard let test = source.first(of: ["mmlu_test.jsonl"]) else {
            throw TaskDataError.missingFile(
                task: "mmlu", directory: directory.path, lookedFor: ["mmlu/test/SUBJECT_test.csv", "mmlu_test.jsonl"])
        }
        let development = source.first(of: ["mmlu_dev.jsonl"])
        testPath = test.path
        developmentPath = development?.path ?? directory.appending(path: "mmlu_dev.jsonl").path
        self.test = [.lines(test)]
        self.development = development.map { [.lines($0)] } ?? []
    }

    private static func tables(in directory: URL, part: String) throws -> [MMLUFile] {
        let folder = directory.appending(path: part)
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted().compactMap { name in
            let ending = ["_\(part).csv", "_\(part).csv.gz"].first { name.hasSuffix($0) }
            return ending.map { .table(folder.appending(path: name), subject: String(name.dropLast($0.count))) }
        }
    }
}

/// A file of MMLU's questions.
enum MMLUFile {
    /// Rows of question, four answers and a letter.
    case table(URL, subject: String)
    /// Objects of `question`, `choices`, `answer` (0 to 3, or a letter) and `subject`.
    case lines(URL)

    /// Bytes that a table may have, unzipped or not.
    private static let limit = 512 << 20

    /// The questions in their order, each read, and perhaps found malformed, when it is asked for.
    func questions() throws -> [() throws -> MMLUQuestion] {
        switch self {
        case .table(let url, let subject):
            return try csvRows(readContents(of: url, limit: Self.limit), file: url.path).map { row in
                { try Self.question(of: row, file: url.path, subject: subject) }
            }
        case .lines(let url):
            var lines = try JSONLines(contentsOf: url)
            var questions: [() throws -> MMLUQuestion] = []
            while true {
                do {
                    guard let record = try lines.next() else { return questions }
                    _ = try record.object()
                    questions.append { try Self.question(of: record) }
                } catch let error as JSONNodeError {
                    questions.append { throw error }
                }
            }
        }
    }

    private static func question(of row: CSVRow, file: String, subject: String) throws -> MMLUQuestion {
        func malformed(_ key: String, _ reason: String) -> TaskDataError {
            .malformedItem(file: file, line: row.line, key: key, reason: reason)
        }
        guard row.fields.count == 6 else {
            throw malformed("", "expected a question, four answers and a letter, found \(row.fields.count) fields")
        }
        guard let answer = MMLUQuestion.letters.firstIndex(of: row.fields[5]) else {
            throw malformed("answer", "expected A, B, C or D, found \"\(row.fields[5].prefix(64))\"")
        }
        return MMLUQuestion(
            file: file, line: row.line, subject: subject, question: row.fields[0], choices: Array(row.fields[1...4]),
            answer: answer)
    }

    private static func question(of record: JSONNode) throws -> MMLUQuestion {
        let choices = try record["choices"].strings()
        guard choices.count == 4 else { throw record["choices"].malformed("expected 4, found \(choices.count)") }
        let answer: Int? =
            if case .string(let letter)? = record["answer"].value {
                MMLUQuestion.letters.firstIndex(of: letter)
            } else {
                try record["answer"].integer()
            }
        guard let answer, choices.indices.contains(answer) else {
            throw record["answer"].mismatch("0 to 3, or A, B, C or D")
        }
        return MMLUQuestion(
            file: record.file, line: record.line ?? 1, subject: try record["subject"].string(),
            question: try record["question"].string(), choices: choices, answer: answer)
    }
}
