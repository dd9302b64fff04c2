/// PIQA (Bisk et al., 2020): which of two ways reaches a goal.
public struct PIQA: JSONLinesTask {
    public let name = "piqa"
    public let title = "PIQA"
    public let tableMetric = TaskMetric.normalizedAccuracy
    let fileNames = ["piqa.jsonl"]

    public init() {}

    func item(from record: JSONRecord) throws -> TaskItem {
        try TaskItem(
            record, context: "Question: \(record.string("goal"))\nAnswer:",
            choices: [record.string("sol1"), record.string("sol2")], answer: record.integer("label"),
            choicesKey: "sol1, sol2", answerKey: "label")
    }
}
