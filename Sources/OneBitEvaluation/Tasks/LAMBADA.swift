import JSON

/// LAMBADA (Paperno et al., 2016), OpenAI's version of the text: the last word of a passage.
///
/// Everything up to the last space is the context, the space and the word the continuation. `acc` counts words that
/// greedy decoding writes; `perplexity` is that of the words, exp of minus their mean log-likelihood.
public struct LAMBADA: JSONLinesTask {
    public let name = "lambada_openai"
    public let title = "LAMBADA"
    public let scoring = TaskScoring.continuation
    public let tableMetric = TaskMetric.accuracy
    let fileNames = ["lambada_openai.jsonl", "lambada_test.jsonl"]

    public init() {}

    func item(from record: JSONNode) throws -> TaskItem {
        let text = try record["text"].string()
        let utf8 = text.utf8
        let space = utf8.lastIndex(of: UInt8(ascii: " "))
        let word = String(text.unicodeScalars[(space.map { utf8.index(after: $0) } ?? text.startIndex)...])
        guard !word.isEmpty else { throw record["text"].malformed("no word behind the last space") }
        let context = space.map { String(text.unicodeScalars[..<$0]) } ?? ""
        return TaskItem(
            file: record.file, line: record.line ?? 1,
            choices: [
                TaskItem.Choice(context: context, continuation: " " + word, length: word.unicodeScalars.count)
            ],
            answer: 0)
    }
}
