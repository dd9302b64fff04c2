extension JSONValue {
    /// The value as JSON text: compact, or broken into lines with `indentation` spaces per level.
    package func serialized(indentation: Int? = nil) -> String {
        var text = ""
        write(to: &text, indentation: indentation, level: 0)
        return text
    }

    /// The value as compact JSON text, or the beginning of it: at least so many bytes, where there are as many.
    func serialized(stoppingAfter byteCount: Int) -> String {
        var text = ""
        write(to: &text, indentation: nil, level: 0, stoppingAfter: byteCount)
        return text
    }

    private func write(to text: inout String, indentation: Int?, level: Int, stoppingAfter limit: Int = .max) {
        switch self {
        case .null: text += "null"
        case .boolean(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.description
        case .string(let value): Self.writeQuoted(limit == .max ? value : String(value.prefix(limit)), to: &text)
        case .array(let elements):
            text += "["
            for (index, element) in elements.enumerated() where text.utf8.count <= limit {
                if index > 0 { text += "," }
                Self.breakLine(&text, indentation, level + 1)
                element.write(to: &text, indentation: indentation, level: level + 1, stoppingAfter: limit)
            }
            if !elements.isEmpty { Self.breakLine(&text, indentation, level) }
            text += "]"
        case .object(let object):
            text += "{"
            for (index, member) in object.members.enumerated() where text.utf8.count <= limit {
                if index > 0 { text += "," }
                Self.breakLine(&text, indentation, level + 1)
                Self.writeQuoted(member.key, to: &text)
                text += indentation == nil ? ":" : ": "
                member.value.write(to: &text, indentation: indentation, level: level + 1, stoppingAfter: limit)
            }
            if !object.members.isEmpty { Self.breakLine(&text, indentation, level) }
            text += "}"
        }
    }

    private static func breakLine(_ text: inout String, _ indentation: Int?, _ level: Int) {
        guard let indentation else { return }
        text += "\n" + String(repeating: " ", count: indentation * level)
    }

    private static func writeQuoted(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\0"..<" ":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
