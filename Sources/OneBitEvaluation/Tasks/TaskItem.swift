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
        _ record: JSONRecord, context: String, choices: [String], delimiter: String = " ", answer: Int,
        choicesKey: String, answerKey: String
    ) throws {
        guard choices.count > 1 else {
            throw record.malformed(choicesKey, "expected two or more choices, found \(choices.count)")
        }
        guard choices.indices.contains(answer) else {
            throw record.malformed(answerKey, "the answer \(answer) is none of the choices 0 to \(choices.count - 1)")
        }
        for (index, choice) in choices.enumerated() where choice.isEmpty {
            throw record.malformed(choicesKey, "choice \(index) is empty")
        }
        self.init(
            file: record.file, line: record.line,
            choices: choices.map {
                Choice(context: context, continuation: delimiter + $0, length: $0.unicodeScalars.count)
            },
            answer: answer)
    }
}
