import Foundation

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
        guard let test = DataFile.first(of: ["mmlu_test.jsonl"], in: directory) else {
            throw TaskDataError.missingFile(
                task: "mmlu", directory: directory.path, lookedFor: ["mmlu/test/SUBJECT_test.csv", "mmlu_test.jsonl"])
        }
        let development = DataFile.first(of: ["mmlu_dev.jsonl"], in: directory)
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

    /// The questions in their order, each read, and perhaps found malformed, when it is asked for.
    func questions() throws -> [() throws -> MMLUQuestion] {
        switch self {
        case .table(let url, let subject):
            try csvRows(DataFile(contentsOf: url).contents, file: url.path).map { row in
                { try Self.question(of: row, file: url.path, subject: subject) }
            }
        case .lines(let url):
            try DataFile(contentsOf: url).lines.map { line in
                { try Self.question(of: line.record()) }
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

    private static func question(of record: JSONRecord) throws -> MMLUQuestion {
        let choices = try record.strings("choices")
        guard choices.count == 4 else { throw record.malformed("choices", "expected 4, found \(choices.count)") }
        let answer: Int? =
            if case .string(let letter)? = record.value("answer") {
                MMLUQuestion.letters.firstIndex(of: letter)
            } else {
                try record.integer("answer")
            }
        guard let answer, choices.indices.contains(answer) else {
            throw record.mismatch("answer", "0 to 3, or A, B, C or D")
        }
        return MMLUQuestion(
            file: record.file, line: record.line, subject: try record.string("subject"),
            question: try record.string("question"), choices: choices, answer: answer)
    }
}
