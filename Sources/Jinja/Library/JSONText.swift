/// Python's `json.dumps`, which transformers gives templates as `tojson`.
struct JSONText {
    var escapesNonASCII = false
    var indentation: String?
    var itemSeparator: TemplateString = ", "
    var keySeparator: TemplateString = ": "
    var sortsKeys = false
    let renderer: Renderer

    init(_ renderer: Renderer) { self.renderer = renderer }

    /// The value as JSON. What stands for a string has its origin.
    func text(of value: Value) throws -> TemplateString {
        var text = TemplateString()
        try write(value, to: &text, level: 0)
        return text
    }

    private func write(_ value: Value, to text: inout TemplateString, level: Int) throws {
        try renderer.use()
        try renderer.checkLength(text.count >> 3)
        switch value {
        case .string(let string): write(string, to: &text)
        case .list(let list), .tuple(let list): try write(list.elements, to: &text, level: level)
        case .dictionary(let dictionary): try write(dictionary.entries, to: &text, level: level)
        default:
            guard let scalar = Self.scalar(value) else {
                throw TemplateError.type("Object of type \(value.typeName) is not JSON serializable")
            }
            text.append(scalar, origin: .template)
        }
        guard text.count <= renderer.limits.textLength else {
            try renderer.checkLength(text.count)
            return
        }
    }

    private static func scalar(_ value: Value) -> String? {
        switch value {
        case .none: "null"
        case .boolean(let value): value ? "true" : "false"
        case .integer(let value): String(value)
        case .bigInteger(let value): value.text()
        case .float(let value):
            value.isNaN ? "NaN" : value.isInfinite ? value < 0 ? "-Infinity" : "Infinity" : value.pythonRepresentation
        default: nil
        }
    }

    private func write(_ elements: [Value], to text: inout TemplateString, level: Int) throws {
        guard !elements.isEmpty else { return text.append("[]") }
        text.append("[")
        for (index, element) in elements.enumerated() {
            if index > 0 { text.append(itemSeparator) }
            breakLine(&text, level + 1)
            try write(element, to: &text, level: level + 1)
        }
        breakLine(&text, level)
        text.append("]")
    }

    private func write(_ entries: Entries, to text: inout TemplateString, level: Int) throws {
        guard entries.count > 0 else { return text.append("{}") }
        var order = Array(0..<entries.count)
        if sortsKeys { order = try order.sorted { try entries.keys[$0].precedes(entries.keys[$1]) } }
        text.append("{")
        for (index, position) in order.enumerated() {
            if index > 0 { text.append(itemSeparator) }
            breakLine(&text, level + 1)
            let key = entries.keys[position]
            if case .string(let string) = key {
                write(string, to: &text)
            } else {
                guard let scalar = Self.scalar(key) else {
                    throw TemplateError.type("keys must be str, int, float, bool or None, not \(key.typeName)")
                }
                text.append("\"\(scalar)\"", origin: .template)
            }
            text.append(keySeparator)
            try write(entries.values[position], to: &text, level: level + 1)
        }
        breakLine(&text, level)
        text.append("}")
    }

    private func breakLine(_ text: inout TemplateString, _ level: Int) {
        guard let indentation else { return }
        text.append("\n" + String(repeating: indentation, count: level), origin: .template)
    }

    private func write(_ string: TemplateString, to text: inout TemplateString) {
        text.append("\"")
        var escaped = string.mapped { _, codePoint in
            escape(codePoint).map { $0.unicodeScalars.map(\.value) } ?? [codePoint]
        }
        escaped.isMarkup = false
        text.append(escaped)
        text.append("\"")
    }

    private func escape(_ codePoint: UInt32) -> String? {
        switch codePoint {
        case 0x22: "\\\""
        case 0x5C: "\\\\"
        case 0x08: "\\b"
        case 0x09: "\\t"
        case 0x0A: "\\n"
        case 0x0C: "\\f"
        case 0x0D: "\\r"
        case ..<0x20: "\\u" + hexadecimal(codePoint, width: 4)
        case 0x7F... where escapesNonASCII:
            if codePoint < 0x10000 {
                "\\u" + hexadecimal(codePoint, width: 4)
            } else {
                "\\u" + hexadecimal(0xD800 + (codePoint - 0x10000) >> 10, width: 4) + "\\u"
                    + hexadecimal(0xDC00 + (codePoint - 0x10000) & 0x3FF, width: 4)
            }
        default: nil
        }
    }
}
