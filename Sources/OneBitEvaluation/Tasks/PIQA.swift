import JSON

/// PIQA (Bisk et al., 2020): which of two ways reaches a goal.
public struct PIQA: JSONLinesTask {
    public let name = "piqa"
    public let title = "PIQA"
    public let tableMetric = TaskMetric.normalizedAccuracy
    let fileNames = ["piqa.jsonl"]

    public init() {}

    func item(from record: JSONNode) throws -> TaskItem {
        try TaskItem(
            record, context: "Question: \(record["goal"].string())\nAnswer:",
            choices: [record["sol1"].string(), record["sol2"].string()], answer: record["label"].label(),
            choicesKey: "sol1, sol2", answerKey: "label")
    }
}
