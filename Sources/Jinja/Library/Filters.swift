/// A filter: what stands behind `|`.
typealias Filter = @Sendable (_ renderer: Renderer, _ value: Value, _ arguments: Arguments) throws -> Value

/// jinja2's built-in filters, and `tojson` of transformers. Those of sequences, texts and HTML have files of their own.
enum Filters {
    static let all: [String: Filter] = general.merging(SequenceFilters.all) { first, _ in first }
        .merging(TextFilters.all) { first, _ in first }.merging(MarkupFilters.all) { first, _ in first }

    /// A filter that takes its arguments one by one.
    static func reading(
        _ name: String, _ body: @escaping @Sendable (Renderer, Value, inout ArgumentReader) throws -> Value
    ) -> Filter {
        { renderer, value, arguments in
            var reader = ArgumentReader(arguments, of: name)
            let result = try body(renderer, value, &reader)
            try reader.finish()
            return result
        }
    }

    private static let general: [String: Filter] = {
        let standard = reading("default", standardValue)
        let count = reading("length") { _, value, _ in .integer(try value.length()) }
        return [
            "abs": reading("abs", absolute),
            "attr": reading("attr") { renderer, value, arguments in
                try renderer.attributeAlone(try arguments.required("name").printed().text, of: value)
            },
            "count": count,
            "d": standard,
            "default": standard,
            "filesizeformat": reading("filesizeformat", fileSize),
            "float": reading("float", float),
            "int": reading("int", integer),
            "length": count,
            "pprint": reading("pprint") { renderer, value, _ in
                .string(try PrettyPrinter(renderer).text(of: value))
            },
            "round": reading("round", round),
            "string": reading("string") { _, value, _ in
                if case .string(let text) = value, text.isMarkup { return value }
                return .string(try value.printed())
            },
            "tojson": reading("tojson", json),
        ]
    }()

    private static func standardValue(
        _ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader
    ) throws -> Value {
        let standard = try arguments.next("default_value") ?? .string("")
        let replacesFalse = try arguments.flag("boolean")
        if case .undefined = value { return standard }
        return replacesFalse && !value.isTrue ? standard : value
    }

    // MARK: Numbers

    private static func absolute(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws
        -> Value
    {
        switch value.number {
        case .float(let number)?: return .float(number.magnitude)
        case let number?:
            if let big = number.big { return .integer(big.signum < 0 ? -big : big) }
        case nil: break
        }
        throw TemplateError.type("bad operand type for abs(): '\(value.typeName)'")
    }

    private static func integer(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let standard = try arguments.next("default") ?? .integer(0)
        let base = try arguments.integer("base") ?? 10
        switch value {
        case .undefined(let undefined): throw undefined.error
        case .string(let text):
            try renderer.use(steps: text.count)
            if let number = PythonNumber.integer(text.codePoints, base: base) { return .integer(number) }
            guard let number = PythonNumber.float(text.codePoints), number.isFinite else { return standard }
            return .integer(BigInteger(number))
        default:
            guard let number = value.number else { return standard }
            if let integer = number.big { return .integer(integer) }
            return number.double.isFinite ? .integer(BigInteger(number.double)) : standard
        }
    }

    private static func float(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        let standard = try arguments.next("default") ?? .float(0)
        switch value {
        case .undefined(let undefined): throw undefined.error
        case .string(let text):
            try renderer.use(steps: text.count)
            return PythonNumber.float(text.codePoints).map { .float($0) } ?? standard
        default: return value.number.map { .float($0.double) } ?? standard
        }
    }

    private static func round(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        let digits = try arguments.integer("precision") ?? 0
        let method = try arguments.next("method")?.printed().text ?? "common"
        guard ["common", "ceil", "floor"].contains(method) else {
            throw TemplateError(.argument, "method must be common, ceil or floor")
        }
        if case .undefined(let undefined) = value, method != "common" { throw undefined.error }
        guard let number = value.number else {
            throw TemplateError.type("type \(value.typeName) doesn't define __round__ method")
        }
        if method == "common" {
            if case .float(let float) = number { return .float(Arithmetic.rounded(float, digits: digits)) }
            return try roundedInteger(value, digits: digits, renderer)
        }
        let scale = try renderer.compute(.power, .integer(10), .integer(digits))
        let scaled = try renderer.compute(.multiply, value, scale).number?.double ?? 0
        guard scaled.isFinite else { throw TemplateError(.overflow, "cannot convert float infinity to integer") }
        let whole = Value.integer(BigInteger(scaled.rounded(method == "ceil" ? .up : .down)))
        return try renderer.compute(.divide, whole, scale)
    }

    /// An integer to tens or hundreds, halves to even.
    private static func roundedInteger(_ value: Value, digits: Int, _ renderer: Renderer) throws -> Value {
        let value = Value.integer(value.number?.big ?? BigInteger(0))
        guard digits < 0 else { return value }
        let scale = try renderer.compute(.power, .integer(10), .integer(-max(digits, -4000)))
        let remainder = try renderer.compute(.modulo, value, scale)
        let down = try renderer.compute(.subtract, value, remainder)
        let twice = try renderer.compute(.multiply, remainder, .integer(2))
        let isOdd = try renderer.compute(.modulo, try renderer.compute(.floorDivide, down, scale), .integer(2)).isTrue
        let roundsUp = try Value.compare(twice, scale, by: .greater) || twice.isEqual(to: scale) && isOdd
        return roundsUp ? try renderer.compute(.add, down, scale) : down
    }

    private static func fileSize(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws
        -> Value
    {
        let isBinary = try arguments.flag("binary")
        let bytes: Double
        switch value {
        case .string(let text):
            guard let number = PythonNumber.float(text.codePoints) else {
                throw TemplateError.value("could not convert string to float: \(value.shortDescription)")
            }
            bytes = number
        case .undefined(let undefined): throw undefined.error
        default:
            guard let number = value.number else {
                throw TemplateError.type("float() argument must be a string or a real number, not '\(value.typeName)'")
            }
            bytes = number.double
        }
        guard bytes.isFinite else { throw TemplateError(.overflow, "a size that is not finite") }
        let base: Double = isBinary ? 1024 : 1000
        if bytes == 1 { return .string("1 Byte") }
        if bytes < base { return .string("\(BigInteger(bytes).text()) Bytes") }
        var unit = base
        for prefix in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            unit *= base
            if bytes < unit || prefix == "Y" {
                let number = Arithmetic.decimal(base * bytes / unit, "%.*f", digits: 1)
                return .string("\(number) \(isBinary ? prefix.uppercased() + "i" : prefix)B")
            }
        }
        return .none
    }

    // MARK: JSON

    private static func json(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        var json = JSONText(renderer)
        json.escapesNonASCII = try arguments.flag("ensure_ascii")
        switch try arguments.next("indent") {
        case nil, Value.none?: break
        case .string(let text)?: json.indentation = text.text
        case let width?:
            let count = try StringMethods.index(width)
            guard count <= 1000 else { throw TemplateError(.limit, "an indentation of \(count); the limit is 1000") }
            json.indentation = String(repeating: " ", count: max(0, count))
        }
        if json.indentation != nil { json.itemSeparator = "," }
        switch try arguments.next("separators") {
        case nil, Value.none?: break
        case let separators?:
            let pair = try renderer.elements(of: separators)
            guard pair.count == 2, case .string(let item) = pair[0], case .string(let key) = pair[1] else {
                throw TemplateError.value("tojson takes separators of items and keys")
            }
            (json.itemSeparator, json.keySeparator) = (item, key)
        }
        json.sortsKeys = try arguments.flag("sort_keys")
        return .string(try json.text(of: value))
    }
}

/// Python's reading of numbers from text.
enum PythonNumber {
    /// The text without white space at its ends, digits of any script as ASCII; nil where an underscore stands elsewhere
    /// than between digits.
    private static func plain(_ text: [UInt32]) -> String? {
        let string = TemplateString(text)
        let range = string.trimmedRange(CodePoint.isSpace)
        guard range.count <= 10_000 else { return nil }
        var plain = ""
        var previous: UInt32 = 0
        for (offset, codePoint) in text[range].enumerated() {
            if codePoint == 0x5F {
                let next = range.lowerBound + offset + 1
                guard isPart(previous), next < range.upperBound, isPart(text[next]) else { return nil }
            } else if let digit = CodePoint.decimalValue(codePoint) {
                plain += String(digit)
            } else {
                guard codePoint < 0x80, let scalar = Unicode.Scalar(codePoint) else { return nil }
                plain.unicodeScalars.append(scalar)
            }
            previous = codePoint
        }
        return plain
    }

    private static func isPart(_ codePoint: UInt32) -> Bool { CodePoint.isWord(codePoint) && codePoint != 0x5F }

    static func integer(_ text: [UInt32], base: Int) -> BigInteger? {
        guard base == 0 || 2...36 ~= base, var digits = plain(text)?.lowercased()[...] else { return nil }
        let isNegative = digits.first == "-"
        if isNegative || digits.first == "+" { digits.removeFirst() }
        var base = base
        for (prefix, value) in [("0x", 16), ("0o", 8), ("0b", 2)] where base == 0 || base == value {
            guard digits.hasPrefix(prefix) else { continue }
            digits.removeFirst(2)
            base = value
        }
        if base == 0 {
            if digits.count > 1, digits.first == "0", digits.contains(where: { $0 != "0" }) { return nil }
            base = 10
        }
        var values: [UInt32] = []
        for digit in digits {
            guard let value = digit.isASCII ? Int(String(digit), radix: 36) : nil, value < base else { return nil }
            values.append(UInt32(value))
        }
        guard !values.isEmpty, let number = BigInteger(values, base: UInt32(base)) else { return nil }
        return isNegative ? -number : number
    }

    static func float(_ text: [UInt32]) -> Double? {
        guard let plain = plain(text)?.lowercased() else { return nil }
        let unsigned = plain.hasPrefix("-") || plain.hasPrefix("+") ? plain.dropFirst() : plain[...]
        if ["inf", "infinity", "nan"].contains(unsigned) {
            let value = unsigned == "nan" ? Double.nan : .infinity
            return plain.hasPrefix("-") ? -value : value
        }
        guard let first = unsigned.first, first.isNumber || first == ".", !unsigned.contains("x"),
            !unsigned.contains("p")
        else { return nil }
        // Swift wants a digit on both sides of the point.
        var number = String(unsigned)
        if number.hasPrefix(".") { number = "0" + number }
        if let point = number.firstIndex(of: "."),
            number.index(after: point) == number.endIndex || number[number.index(after: point)] == "e"
        {
            guard unsigned != "." else { return nil }
            number.insert("0", at: number.index(after: point))
            if unsigned.hasPrefix(".") { return nil }
        }
        return Double(number).map { plain.hasPrefix("-") ? -$0 : $0 }
    }
}
