import JSON

/// HellaSwag (Zellers et al., 2019): which of four endings goes on a scene.
///
/// The context is `activity_label: ctx_a ctx_b`, `ctx_b` capitalised.
public struct HellaSwag: JSONLinesTask {
    public let name = "hellaswag"
    public let title = "HellaSwag"
    public let tableMetric = TaskMetric.normalizedAccuracy
    let fileNames = ["hellaswag.jsonl", "hellaswag_val.jsonl"]

    public init() {}

    func item(from record: JSONNode) throws -> TaskItem {
        let scene = try record["ctx_a"].string() + " " + PythonText.capitalize(record["ctx_b"].string())
        return try TaskItem(
            record, context: Self.cleaned(record["activity_label"].string() + ": " + scene),
            choices: record["endings"].strings().map(Self.cleaned), answer: record["label"].label(),
            choicesKey: "endings", answerKey: "label")
    }

    /// Takes out what WikiHow's markup left: a title becomes a full stop, other words in brackets go.
    static func cleaned(_ text: String) -> String {
        let titled = PythonText.replace(" [title]", with: ". ", in: PythonText.strip(text))
        return PythonText.replace("  ", with: " ", in: withoutBrackets(titled))
    }

    /// Deletes from every `[` to the next `]` on the same line.
    private static func withoutBrackets(_ text: String) -> String {
        var kept = String.UnicodeScalarView()
        var rest = text.unicodeScalars[...]
        while let open = rest.firstIndex(of: "[") {
            kept += rest[..<open]
            rest = rest[open...]
            if let end = rest.firstIndex(where: { $0 == "]" || $0 == "\n" }), rest[end] == "]" {
                rest = rest[rest.index(after: end)...]
            } else {
                kept.append(rest.removeFirst())
            }
        }
        return String(kept + rest)
    }
}
