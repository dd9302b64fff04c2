/// Text with the values of an item's keys in it: `Question: {question}\nAnswer:`. Two braces stand for one.
struct PromptTemplate: Sendable, Equatable {
    private enum Part: Sendable, Equatable {
        case text(String)
        case key(String)
    }

    private let parts: [Part]

    /// What is wrong with a template.
    struct Malformed: Error {
        let reason: String
    }

    /// - Throws: ``Malformed``
    init(_ template: String) throws {
        var parts: [Part] = []
        var text = String.UnicodeScalarView()
        var rest = template.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            switch scalar {
            case "{", "}":
                if rest.first == scalar {
                    text.append(scalar)
                    rest.removeFirst()
                    continue
                }
                guard scalar == "{", let close = rest.firstIndex(of: "}") else {
                    throw Malformed(reason: "a brace stands alone; write {{ or }} for a brace of the text")
                }
                let key = String(rest[..<close])
                guard !key.isEmpty, !key.unicodeScalars.contains("{") else {
                    throw Malformed(reason: "expected a key between { and }, found \"\(key.prefix(64))\"")
                }
                if !text.isEmpty { parts.append(.text(String(text))) }
                text = .init()
                parts.append(.key(key))
                rest = rest[rest.index(after: close)...]
            default: text.append(scalar)
            }
        }
        if !text.isEmpty { parts.append(.text(String(text))) }
        self.parts = parts
    }

    /// - Throws: ``TaskDataError/malformedItem(file:line:key:reason:)`` where a key has neither a string nor a whole number.
    func filled(from record: JSONRecord) throws -> String {
        try parts.map { part in
            switch part {
            case .text(let text): return text
            case .key(let key):
                if case .integer(let number)? = record.value(key) { return String(number) }
                return try record.string(key)
            }
        }.joined()
    }
}
