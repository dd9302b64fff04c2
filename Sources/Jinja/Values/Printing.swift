import Foundation

extension Value {
    /// Python's `str(value)`: how a template prints it.
    func printed() throws -> TemplateString {
        switch self {
        case .string(let text): text
        case .undefined: ""
        default: try representation(depth: 0)
        }
    }

    /// Python's `repr(value)`. Numbers and punctuation count as the template's: they spell no control token by themselves.
    ///
    /// - Throws: `TemplateError` where values are nested too deeply: namespaces may hold each other.
    func representation(depth: Int) throws -> TemplateString {
        guard depth <= 2 * Self.maximumDepth else {
            throw TemplateError(.recursion, "a value is nested too deeply to be printed")
        }
        switch self {
        case .undefined: return "Undefined"
        case .none: return "None"
        case .boolean(let value): return value ? "True" : "False"
        case .integer(let value): return TemplateString(String(value))
        case .bigInteger(let value): return TemplateString(value.text())
        case .float(let value): return TemplateString(value.pythonRepresentation)
        case .string(let text): return text.representation
        case .bytes(let bytes): return Self.representation(of: bytes)
        case .list(let list):
            return try Self.enclosed("[", list.elements.map { try $0.representation(depth: depth + 1) }, "]")
        case .tuple(let tuple):
            let elements = try tuple.elements.map { try $0.representation(depth: depth + 1) }
            return Self.enclosed("(", elements, elements.count == 1 ? ",)" : ")")
        case .dictionary(let dictionary):
            return try Self.representation(of: dictionary.entries, depth: depth)
        case .range(let range):
            let step = range.step == 1 ? "" : ", \(range.step)"
            return TemplateString("range(\(range.start), \(range.stop)\(step))")
        case .object(let object): return try object.representation(depth: depth)
        }
    }

    static func representation(of entries: Entries, depth: Int) throws -> TemplateString {
        let pairs = try zip(entries.keys, entries.values).map { key, value in
            var pair = try key.representation(depth: depth + 1)
            pair.append(": ")
            pair.append(try value.representation(depth: depth + 1))
            return pair
        }
        return enclosed("{", pairs, "}")
    }

    static func enclosed(_ opening: String, _ elements: [TemplateString], _ closing: String) -> TemplateString {
        var text = TemplateString(opening)
        text.append(TemplateString.joined(elements, separator: ", "))
        text.append(TemplateString(closing))
        return text
    }

    private static func representation(of bytes: [UInt8]) -> TemplateString {
        let quote: Character = bytes.contains(0x27) && !bytes.contains(0x22) ? "\"" : "'"
        var text = "b\(quote)"
        for byte in bytes {
            switch byte {
            case 0x5C: text += "\\\\"
            case 0x09: text += "\\t"
            case 0x0A: text += "\\n"
            case 0x0D: text += "\\r"
            case 0x20..<0x7F:
                let character = Character(Unicode.Scalar(byte))
                text += character == quote ? "\\\(character)" : String(character)
            default: text += "\\x" + hexadecimal(UInt32(byte), width: 2)
            }
        }
        return TemplateString(text + String(quote))
    }
}

/// A number in hexadecimal, filled up with zeros.
func hexadecimal(_ value: UInt32, width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

extension TemplateString {
    /// Python's `repr` of a string: what stands for a code point has its origin.
    var representation: TemplateString {
        let hasApostrophe = codePoints.contains(0x27)
        let quote: UInt32 = hasApostrophe && !codePoints.contains(0x22) ? 0x22 : 0x27
        var body = mapped { _, codePoint in
            if let escape = Self.escape(codePoint, quote: quote) { return escape.unicodeScalars.map(\.value) }
            return [codePoint]
        }
        body.isMarkup = false
        let quotes = TemplateString([quote])
        var text = TemplateString(isMarkup ? "Markup(" : "")
        text.append(quotes)
        text.append(body)
        text.append(quotes)
        if isMarkup { text.append(")") }
        return text
    }

    private static func escape(_ codePoint: UInt32, quote: UInt32) -> String? {
        switch codePoint {
        case 0x5C: "\\\\"
        case 0x09: "\\t"
        case 0x0A: "\\n"
        case 0x0D: "\\r"
        case quote: quote == 0x27 ? "\\'" : "\\\""
        case _ where CodePoint.isPrintable(codePoint): nil
        case ..<0x100: "\\x" + hexadecimal(codePoint, width: 2)
        case ..<0x10000: "\\u" + hexadecimal(codePoint, width: 4)
        default: "\\U" + hexadecimal(codePoint, width: 8)
        }
    }
}

extension Double {
    /// Python's `repr` of a float: the fewest digits that give the number back.
    var pythonRepresentation: String {
        if isNaN { return "nan" }
        if isInfinite { return self < 0 ? "-inf" : "inf" }
        if self == 0 { return sign == .minus ? "-0.0" : "0.0" }
        let (digits, exponent) = shortestDigits
        let sign = self < 0 ? "-" : ""
        // The decimal point stands behind `exponent + 1` digits.
        guard -4..<16 ~= exponent else {
            let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
            let magnitude = String(exponent.magnitude)
            return sign + digits.prefix(1) + fraction + (exponent < 0 ? "e-" : "e+")
                + (magnitude.count < 2 ? "0" : "") + magnitude
        }
        if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
        let whole = digits.prefix(exponent + 1)
        let zeros = String(repeating: "0", count: exponent + 1 - whole.count)
        let fraction = digits.dropFirst(exponent + 1)
        return sign + whole + zeros + "." + (fraction.isEmpty ? "0" : fraction)
    }

    /// The fewest digits that give the number back, and the exponent of ten of the first. Swift's `description` has the
    /// same digits, only laid out otherwise.
    private var shortestDigits: (digits: String, exponent: Int) {
        let parts = magnitude.description.split(separator: "e")
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let whole = mantissa[0]
        let fraction = mantissa.count > 1 ? mantissa[1] : ""
        var exponent = (parts.count > 1 ? Int(parts[1]) ?? 0 : 0) + whole.count - 1
        var digits = Substring(whole + fraction)
        while digits.first == "0" {
            digits.removeFirst()
            exponent -= 1
        }
        while digits.last == "0" { digits.removeLast() }
        return (String(digits), exponent)
    }
}
