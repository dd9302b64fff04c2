/// BoolQ (Clark et al., 2019): whether a passage says yes to a question.
public struct BoolQ: JSONLinesTask {
    public let name = "boolq"
    public let title = "BoolQ"
    public let tableMetric = TaskMetric.accuracy
    let fileNames = ["boolq.jsonl"]

    public init() {}

    func item(from record: JSONRecord) throws -> TaskItem {
        // The original says `answer`, SuperGLUE's copy `label`.
        let key = record.value("label") == nil ? "answer" : "label"
        let answer: Int =
            switch record.value(key) {
            case .boolean(let isYes)?: isYes ? 1 : 0
            case .integer(let label)?: label
            default: throw record.mismatch(key, "true, false, 1 or 0")
            }
        return try TaskItem(
            record, context: "\(record.string("passage"))\nQuestion: \(record.string("question"))?\nAnswer:",
            choices: ["no", "yes"], answer: answer, choicesKey: "", answerKey: key)
    }
}
