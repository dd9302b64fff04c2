import JSON

/// ARC (Clark et al., 2018): questions of science from school examinations, an easy set and a challenging one.
public struct ARC: JSONLinesTask {
    public let name: String
    public let title: String
    public let tableMetric = TaskMetric.normalizedAccuracy
    let fileNames: [String]

    public static let easy = ARC(
        name: "arc_easy", title: "ARC-e", fileNames: ["arc_easy.jsonl", "ARC-Easy-Test.jsonl"])
    public static let challenge = ARC(
        name: "arc_challenge", title: "ARC-c", fileNames: ["arc_challenge.jsonl", "ARC-Challenge-Test.jsonl"])

    func item(from record: JSONNode) throws -> TaskItem {
        let question: String
        let texts: [String]
        let labels: [String]
        if case .object? = record["question"].value {
            // As AI2 publishes it: the choices are a list in the question.
            let inner = record["question"]
            question = try inner["stem"].string()
            texts = try inner["choices"].elements().map { try $0["text"].string() }
            labels = try inner["choices"].elements().map { try $0["label"].string() }
        } else {
            question = try record["question"].string()
            texts = try record["choices"]["text"].strings()
            labels = try record["choices"]["label"].strings()
        }
        guard texts.count == labels.count else {
            throw record["choices"].malformed("\(texts.count) texts and \(labels.count) labels")
        }
        // Letters in most items, digits in some.
        let key = try record["answerKey"].string()
        guard let answer = labels.firstIndex(of: key) else {
            throw record["answerKey"].malformed("\"\(key)\" is none of the labels \(labels.joined(separator: ", "))")
        }
        return try TaskItem(
            record, context: "Question: \(question)\nAnswer:", choices: texts, answer: answer,
            choicesKey: "choices", answerKey: "answerKey")
    }
}
