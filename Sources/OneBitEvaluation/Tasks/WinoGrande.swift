import JSON

/// WinoGrande (Sakaguchi et al., 2020): which of two names a blank stands for.
///
/// Scored in part: each option takes the blank's place in a context of its own, and the rest of the sentence, the same
/// for both, is what the likelihood is asked of.
public struct WinoGrande: JSONLinesTask {
    public let name = "winogrande"
    public let title = "WinoGrande"
    public let tableMetric = TaskMetric.accuracy
    let fileNames = ["winogrande.jsonl"]

    public init() {}

    func item(from record: JSONNode) throws -> TaskItem {
        let sentence = try record["sentence"].string()
        guard let blank = sentence.utf8.firstIndex(of: UInt8(ascii: "_")) else {
            throw record["sentence"].malformed("no blank \"_\" in it")
        }
        let rest = PythonText.strip(String(sentence.unicodeScalars[sentence.utf8.index(after: blank)...]))
        guard !rest.isEmpty else { throw record["sentence"].malformed("nothing follows the blank") }
        let options = [try record["option1"].string(), try record["option2"].string()]
        let answer = try record["answer"].label()
        guard answer == 1 || answer == 2 else {
            throw record["answer"].malformed("expected 1 or 2, found \(answer)")
        }
        return TaskItem(
            file: record.file, line: record.line ?? 1,
            choices: options.map { option in
                let context = String(sentence.unicodeScalars[..<blank]) + option
                return TaskItem.Choice(
                    context: context, continuation: " " + rest, length: context.unicodeScalars.count)
            },
            answer: answer - 1)
    }
}
