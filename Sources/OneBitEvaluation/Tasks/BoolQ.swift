import JSON

/// BoolQ (Clark et al., 2019): whether a passage says yes to a question.
public struct BoolQ: JSONLinesTask {
    public let name = "boolq"
    public let title = "BoolQ"
    public let tableMetric = TaskMetric.accuracy
    let fileNames = ["boolq.jsonl"]

    public init() {}

    func item(from record: JSONNode) throws -> TaskItem {
        // The original says `answer`, SuperGLUE's copy `label`.
        let key = record["label"].isNull ? "answer" : "label"
        let answer: Int =
            switch record[key].value {
            case .boolean(let isYes)?: isYes ? 1 : 0
            case .integer(let label)?: label
            default: throw record[key].mismatch("true, false, 1 or 0")
            }
        return try TaskItem(
            record, context: "\(record["passage"].string())\nQuestion: \(record["question"].string())?\nAnswer:",
            choices: ["no", "yes"], answer: answer, choicesKey: "", answerKey: key)
    }
}
