/// Python's `str.format`: fields in braces, with the sandbox's rules for their attributes.
enum FormatString {
    static func format(
        _ format: TemplateString, _ arguments: Arguments, _ renderer: Renderer
    ) throws -> TemplateString {
        var names = Entries()
        for keyword in arguments.keywords { names[.string(keyword.name)] = keyword.value }
        var state = State(positional: arguments.positional, names: try .dictionary(names), renderer: renderer)
        return try state.expand(format, depth: 2)
    }

    static func format(_ format: TemplateString, mapping: Value, _ renderer: Renderer) throws -> TemplateString {
        var state = State(positional: [], names: mapping, renderer: renderer)
        return try state.expand(format, depth: 2)
    }

    private struct State {
        let positional: [Value]
        let names: Value
        let renderer: Renderer
        private var nextAutomatic = 0
        private var isManual: Bool?

        init(positional: [Value], names: Value, renderer: Renderer) {
            self.positional = positional
            self.names = names
            self.renderer = renderer
        }

        /// Fills in the fields. `depth` is how deep fields may stand in the specifications of others.
        mutating func expand(_ format: TemplateString, depth: Int) throws -> TemplateString {
            guard depth > 0 else { throw TemplateError.value("max string recursion exceeded") }
            try renderer.use(steps: format.count >> 3)
            var result = TemplateString()
            result.isMarkup = format.isMarkup
            var position = 0
            while position < format.count {
                let codePoint = format.codePoints[position]
                let following = position + 1 < format.count ? format.codePoints[position + 1] : nil
                if codePoint == 0x7B || codePoint == 0x7D, following == codePoint {
                    result.append(format, range: position..<position + 1)
                    position += 2
                } else if codePoint == 0x7B {
                    let end = try fieldEnd(in: format, from: position + 1)
                    let text = try field(format[position + 1..<end], depth: depth)
                    try renderer.checkLength(result.count + text.count)
                    result.append(format.isMarkup ? text.escaped : text)
                    position = end + 1
                } else if codePoint == 0x7D {
                    throw TemplateError.value("Single '}' encountered in format string")
                } else {
                    let start = position
                    while position < format.count, format.codePoints[position] != 0x7B,
                        format.codePoints[position] != 0x7D
                    { position += 1 }
                    result.append(format, range: start..<position)
                }
            }
            return result
        }

        private func fieldEnd(in format: TemplateString, from start: Int) throws -> Int {
            var depth = 1
            for position in start..<max(start, format.count) {
                if format.codePoints[position] == 0x7B { depth += 1 }
                if format.codePoints[position] == 0x7D { depth -= 1 }
                if depth == 0 { return position }
            }
            throw TemplateError.value("Single '{' encountered in format string, or expected '}'")
        }

        /// What stands for `name!conversion:specification`.
        private mutating func field(_ field: TemplateString, depth: Int) throws -> TemplateString {
            var nameEnd = 0
            var brackets = 0
            while nameEnd < field.count {
                let codePoint = field.codePoints[nameEnd]
                if codePoint == 0x5B { brackets += 1 }
                if codePoint == 0x5D { brackets -= 1 }
                if brackets <= 0, codePoint == 0x21 || codePoint == 0x3A { break }
                nameEnd += 1
            }
            var value = try self.value(of: field[0..<nameEnd])
            var position = nameEnd
            if position < field.count, field.codePoints[position] == 0x21 {
                guard position + 1 < field.count,
                    position + 2 == field.count || field.codePoints[position + 2] == 0x3A
                else { throw TemplateError.value("expected ':' after conversion specifier") }
                value = .string(try converted(value, field.codePoints[position + 1]))
                position += 2
            }
            let specification =
                position < field.count ? try expand(field[position + 1..<field.count], depth: depth - 1) : ""
            guard !specification.isEmpty else { return try value.printed() }
            switch value {
            case .string, .boolean, .integer, .bigInteger, .float:
                return try FormatSpecification(specification.text, renderer).format(value)
            default:
                throw TemplateError.type("unsupported format string passed to \(value.typeName).__format__")
            }
        }

        private func converted(_ value: Value, _ conversion: UInt32) throws -> TemplateString {
            switch Unicode.Scalar(conversion) {
            case "r": try value.representation(depth: 0)
            case "s": try value.printed()
            case "a": try value.representation(depth: 0).escapingNonASCII
            default: throw TemplateError.value("unknown conversion specifier; expected r, s or a")
            }
        }

        /// The value of `name.attribute[key]`.
        private mutating func value(of name: TemplateString) throws -> Value {
            let firstEnd = name.codePoints.firstIndex { $0 == 0x2E || $0 == 0x5B } ?? name.count
            var value = try first(name[0..<firstEnd])
            var position = firstEnd
            while position < name.count {
                let start = position + 1
                if name.codePoints[position] == 0x2E {
                    position = name.codePoints[start...].firstIndex { $0 == 0x2E || $0 == 0x5B } ?? name.count
                    guard position > start else { throw TemplateError.value("Empty attribute in format string") }
                    value = try renderer.attribute(name[start..<position].text, of: value)
                } else if name.codePoints[position] == 0x5B {
                    guard let end = name.codePoints[start...].firstIndex(of: 0x5D), end > start else {
                        throw TemplateError.value("Missing ']' or empty attribute in format string")
                    }
                    let key = name[start..<end]
                    let number = key.codePoints.allSatisfy(CodePoint.isASCIIDigit) ? Int(key.text) : nil
                    value = try renderer.item(number.map { .integer($0) } ?? .string(key), of: value)
                    position = end + 1
                } else {
                    throw TemplateError.value("Only '.' or '[' may follow ']' in format field specifier")
                }
            }
            return value
        }

        private mutating func first(_ name: TemplateString) throws -> Value {
            if name.isEmpty || name.codePoints.allSatisfy(CodePoint.isASCIIDigit) {
                if let isManual, isManual == name.isEmpty {
                    throw TemplateError.value("cannot switch between manual and automatic field numbering")
                }
                isManual = !name.isEmpty
                let index = name.isEmpty ? nextAutomatic : Int(name.text) ?? .max
                nextAutomatic += 1
                guard index < positional.count else {
                    throw TemplateError(.other, "Replacement index \(index) out of range for positional args tuple")
                }
                return positional[index]
            }
            guard case .dictionary(let dictionary) = names else { return try renderer.item(.string(name), of: names) }
            guard let value = dictionary.entries[.string(name)] else {
                throw TemplateError(.other, "there is no '\(name.text)' to format")
            }
            return value
        }
    }
}

/// Python's format specification: `[[fill]align][sign][#][0][width][,][.precision][type]`.
private struct FormatSpecification {
    private var fill: Character = " "
    private var alignment: Character?
    private var sign: Character = "-"
    private var isAlternate = false
    private var width = 0
    private var grouping: Character?
    private var precision: Int?
    private var type: Character?
    private let renderer: Renderer

    init(_ text: String, _ renderer: Renderer) throws {
        self.renderer = renderer
        var rest = text.unicodeScalars.map(Character.init)[...]
        func takes(_ characters: String) -> Bool { rest.first.map(characters.contains) == true }
        if rest.count >= 2, "<>=^".contains(rest[rest.startIndex + 1]) {
            fill = rest.removeFirst()
            alignment = rest.removeFirst()
        } else if takes("<>=^") {
            alignment = rest.removeFirst()
        }
        if takes("+- ") { sign = rest.removeFirst() }
        if takes("#") {
            isAlternate = true
            rest.removeFirst()
        }
        if takes("0") {
            rest.removeFirst()
            if alignment == nil { (fill, alignment) = ("0", "=") }
        }
        width = try Self.takeNumber(&rest, renderer) ?? 0
        if takes(",_") { grouping = rest.removeFirst() }
        if takes(".") {
            rest.removeFirst()
            guard let number = try Self.takeNumber(&rest, renderer) else {
                throw TemplateError.value("Format specifier missing precision")
            }
            precision = number
        }
        type = rest.popFirst()
        guard rest.isEmpty else { throw TemplateError.value("Invalid format specifier '\(text)'") }
    }

    private static func takeNumber(_ rest: inout ArraySlice<Character>, _ renderer: Renderer) throws -> Int? {
        var number: Int?
        while let digit = rest.first?.wholeNumberValue, rest.first?.isASCII == true {
            number = (number ?? 0) * 10 + digit
            guard number ?? 0 <= renderer.limits.textLength else {
                throw TemplateError(.limit, "the width or precision of a format is too large")
            }
            rest.removeFirst()
        }
        return number
    }

    func format(_ value: Value) throws -> TemplateString {
        try renderer.checkLength(width + (precision ?? 0))
        return switch value {
        case .string(let text): try format(text)
        case .float: try format(float: value)
        default: try type.map("eEfFgG%".contains) == true ? format(float: value) : format(integer: value)
        }
    }

    private func format(_ text: TemplateString) throws -> TemplateString {
        guard type == nil || type == "s" else { throw unknownType("str") }
        guard alignment != "=", sign == "-", !isAlternate, grouping == nil else {
            throw TemplateError.value("the specification is not allowed for strings")
        }
        return padded(text[0..<min(text.count, precision ?? .max)], standard: "<", signLength: 0)
    }

    private func unknownType(_ name: String) -> TemplateError {
        .value("Unknown format code '\(type.map(String.init) ?? "")' for object of type '\(name)'")
    }

    private func format(integer value: Value) throws -> TemplateString {
        guard let integer = value.number?.big else { throw unknownType(value.typeName) }
        guard precision == nil else { throw TemplateError.value("Precision not allowed in integer format specifier") }
        if type == "c" {
            guard let code = Int(exactly: integer), 0...0x10FFFF ~= code else {
                throw TemplateError(.overflow, "%c arg not in range(0x110000)")
            }
            return padded(TemplateString([UInt32(code)], origin: .input), standard: "<", signLength: 0)
        }
        let bases: [Character: (UInt32, String)] = [
            "d": (10, ""), "n": (10, ""), "b": (2, "0b"), "o": (8, "0o"), "x": (16, "0x"), "X": (16, "0X"),
        ]
        guard let (base, prefix) = bases[type ?? "d"] else { throw unknownType(value.typeName) }
        var digits = (integer.signum < 0 ? -integer : integer).text(base: base)
        if type == "X" { digits = digits.uppercased() }
        return number(
            digits, isNegative: integer.signum < 0, prefix: isAlternate ? prefix : "", groupSize: base == 10 ? 3 : 4)
    }

    private func format(float value: Value) throws -> TemplateString {
        guard let number = value.number?.double else { throw unknownType(value.typeName) }
        var text: String
        switch type {
        case nil:
            text =
                precision.map {
                    FloatFormat.text(number.magnitude, type: "g", precision: max(1, $0), isAlternate: isAlternate)
                }
                ?? number.magnitude.pythonRepresentation
            // Without a type there is always a fraction.
            if precision != nil, !text.contains("."), !text.contains("e"), number.isFinite { text += ".0" }
        case "%":
            text =
                FloatFormat.text(number.magnitude * 100, type: "f", precision: precision ?? 6, isAlternate: isAlternate)
                + "%"
        case let type? where "eEfFgGn".contains(type):
            text = FloatFormat.text(
                number.magnitude, type: type == "n" ? "g" : type, precision: precision ?? 6, isAlternate: isAlternate)
        default: throw unknownType("float")
        }
        return self.number(text, isNegative: number.sign == .minus && !number.isNaN, prefix: "", groupSize: 3)
    }

    /// A number of its digits, with sign, groups and padding.
    private func number(_ digits: String, isNegative: Bool, prefix: String, groupSize: Int) -> TemplateString {
        let sign = isNegative ? "-" : sign == "-" ? "" : String(sign)
        var digits = digits
        if let grouping {
            let whole = digits.prefix { $0.isHexDigit }
            let rest = digits.dropFirst(whole.count)
            var padded = String(whole)
            if fill == "0", alignment == "=" {
                // Zeros are grouped with the digits.
                while sign.count + prefix.count + Self.grouped(padded, grouping, groupSize).count + rest.count < width {
                    padded = "0" + padded
                }
                if Self.grouped(padded, grouping, groupSize).first == grouping { padded = "0" + padded }
            }
            digits = Self.grouped(padded, grouping, groupSize) + rest
        }
        return padded(TemplateString(sign + prefix + digits), standard: ">", signLength: sign.count + prefix.count)
    }

    private static func grouped(_ digits: String, _ separator: Character, _ size: Int) -> String {
        var result = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % size == 0 { result.append(separator) }
            result.append(digit)
        }
        return result
    }

    private func padded(_ text: TemplateString, standard: Character, signLength: Int) -> TemplateString {
        let missing = width - text.count
        guard missing > 0 else { return text }
        let character = self.fill
        func fill(_ count: Int) -> TemplateString { TemplateString(String(repeating: character, count: count)) }
        let pieces: [TemplateString] =
            switch alignment ?? standard {
            case "<": [text, fill(missing)]
            case "^": [fill(missing / 2), text, fill(missing - missing / 2)]
            case "=": [text[0..<signLength], fill(missing), text[signLength..<text.count]]
            default: [fill(missing), text]
            }
        return TemplateString.joined(pieces, separator: "")
    }
}
