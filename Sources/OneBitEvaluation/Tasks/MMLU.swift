import Foundation

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
