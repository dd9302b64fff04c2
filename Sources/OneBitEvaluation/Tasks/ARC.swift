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

    func item(from record: JSONRecord) throws -> TaskItem {
        let question: String
        let texts: [String]
        let labels: [String]
        if case .object? = record.value("question") {
            // As AI2 publishes it: the choices are a list in the question.
            let inner = try record.object("question")
            question = try inner.string("stem")
            texts = try inner.objects("choices").map { try $0.string("text") }
            labels = try inner.objects("choices").map { try $0.string("label") }
        } else {
            question = try record.string("question")
            texts = try record.object("choices").strings("text")
            labels = try record.object("choices").strings("label")
        }
        guard texts.count == labels.count else {
            throw record.malformed("choices", "\(texts.count) texts and \(labels.count) labels")
        }
        // Letters in most items, digits in some.
        let key = try record.string("answerKey")
        guard let answer = labels.firstIndex(of: key) else {
            throw record.malformed("answerKey", "\"\(key)\" is none of the labels \(labels.joined(separator: ", "))")
        }
        return try TaskItem(
            record, context: "Question: \(question)\nAnswer:", choices: texts, answer: answer,
            choicesKey: "choices", answerKey: "answerKey")
    }
}
