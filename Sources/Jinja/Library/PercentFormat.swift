import Foundation

/// Python's `format % values`.
enum PercentFormat {
    /// A conversion: `%(key)-05.2f`.
    private struct Conversion {
        var key: TemplateString?
        var flags: Set<Character> = []
        var width = 0
        var precision: Int?
        var type: Character = "s"
    }

    static func format(_ format: TemplateString, _ argument: Value, _ renderer: Renderer) throws -> TemplateString {
        var state = State(format: format, argument: argument, renderer: renderer)
        return try state.run()
    }

    private struct State {
        let format: TemplateString
        let argument: Value
        let renderer: Renderer
        private let values: [Value]
        private var nextValue = 0
        private var position = 0
        private var result = TemplateString()

        init(format: TemplateString, argument: Value, renderer: Renderer) {
            self.format = format
            self.argument = argument
            self.renderer = renderer
            if case .tuple(let tuple) = argument { values = tuple.elements } else { values = [argument] }
        }

        mutating func run() throws -> TemplateString {
            result.isMarkup = format.isMarkup
            try renderer.use(steps: format.count >> 3)
            var usedKey = false
            while position < format.count {
                let start = position
                while position < format.count, format.codePoints[position] != 0x25 { position += 1 }
                result.append(format, range: start..<position)
                guard position < format.count else { break }
                let origin = format.origin(at: position)
                let conversion = try readConversion()
                if conversion.key != nil { usedKey = true }
                if conversion.type == "%" {
                    result.append("%", origin: origin)
                    continue
                }
                let value = try conversion.key.map { try self.value(of: $0) } ?? next()
                let text = try padded(try self.text(of: value, conversion), conversion, isNumber: conversion.type)
                try renderer.checkLength(result.count + text.count)
                result.append(format.isMarkup ? text.escaped : text)
            }
            if nextValue < values.count, !usedKey, !isMapping {
                throw TemplateError.type("not all arguments converted during string formatting")
            }
            return result
        }

        /// What may be left over: anything with keys or indices, except tuples and strings.
        private var isMapping: Bool {
            switch argument {
            case .dictionary, .list, .range, .bytes, .undefined: true
            case .object(let object): object.isSubscriptable
            default: false
            }
        }

        private mutating func next() throws -> Value {
            guard nextValue < values.count else { throw TemplateError.type("not enough arguments for format string") }
            nextValue += 1
            return values[nextValue - 1]
        }

        private func value(of key: TemplateString) throws -> Value {
            if case .undefined(let undefined) = argument { throw undefined.error }
            guard case .dictionary(let dictionary) = argument else {
                throw TemplateError.type("format requires a mapping")
            }
            guard let value = dictionary.entries[.string(key)] else {
                throw TemplateError(.other, "there is no key '\(key.text)' to format")
            }
            return value
        }

        private mutating func take() throws -> Character {
            guard position < format.count else { throw TemplateError.value("incomplete format") }
            position += 1
            return Unicode.Scalar(format.codePoints[position - 1]).map(Character.init) ?? "\u{FFFD}"
        }

        private mutating func readConversion() throws -> Conversion {
            position += 1
            var conversion = Conversion()
            var character = try take()
            if character == "(" {
                let start = position
                var depth = 1
                while depth > 0 {
                    character = try take()
                    if character == "(" { depth += 1 }
                    if character == ")" { depth -= 1 }
                }
                conversion.key = format[start..<position - 1]
                character = try take()
            }
            while "#0- +".contains(character) {
                conversion.flags.insert(character)
                character = try take()
            }
            conversion.width = try readNumber(&character) ?? 0
            if conversion.width < 0 {
                conversion.flags.insert("-")
                conversion.width = -conversion.width
            }
            if character == "." {
                character = try take()
                conversion.precision = max(0, try readNumber(&character) ?? 0)
            }
            if "hlL".contains(character) { character = try take() }
            conversion.type = character
            return conversion
        }

        private mutating func readNumber(_ character: inout Character) throws -> Int? {
            if character == "*" {
                character = try take()
                guard case .integer(let value) = try next() else { throw TemplateError.type("* wants int") }
                guard value.magnitude <= renderer.limits.textLength else { throw tooWide }
                return value
            }
            var number: Int?
            while let digit = character.wholeNumberValue, character.isASCII {
                number = (number ?? 0) * 10 + digit
                guard number ?? 0 <= renderer.limits.textLength else { throw tooWide }
                character = try take()
            }
            return number
        }

        private var tooWide: TemplateError { TemplateError(.limit, "the width or precision of a format is too large") }

        private func text(of value: Value, _ conversion: Conversion) throws -> TemplateString {
            switch conversion.type {
            case "s", "r", "a":
                let text = try conversion.type == "s" ? value.printed() : value.representation(depth: 0)
                let shown = conversion.type == "a" ? text.escapingNonASCII : text
                return shown[0..<min(shown.count, conversion.precision ?? .max)]
            case "d", "i", "u": return TemplateString(try integer(value, conversion))
            case "x", "X", "o":
                return TemplateString(try integer(value, conversion, base: conversion.type == "o" ? 8 : 16))
            case "e", "E", "f", "F", "g", "G": return TemplateString(try float(value, conversion))
            case "c": return try character(value)
            default:
                throw TemplateError.value("unsupported format character '\(conversion.type)'")
            }
        }

        private func integer(_ value: Value, _ conversion: Conversion, base: UInt32 = 10) throws -> String {
            let type = conversion.type
            var number = value.number
            if case .float(let float)? = number {
                guard base == 10 else { throw TemplateError.type("%\(type) format: an integer is required, not float") }
                guard float.isFinite else { throw TemplateError(.overflow, "cannot convert \(float) to integer") }
                number = .big(BigInteger(float))
            }
            if case .undefined(let undefined) = value, base == 10 { throw undefined.error }
            guard let integer = number?.big else {
                throw TemplateError.type("%\(type) format: a real number is required, not \(value.typeName)")
            }
            var digits = (integer.signum < 0 ? -integer : integer).text(base: base)
            if let precision = conversion.precision, precision > digits.count {
                try renderer.checkLength(precision)
                digits = String(repeating: "0", count: precision - digits.count) + digits
            }
            if conversion.flags.contains("#"), base != 10 { digits = (base == 8 ? "0o" : "0x") + digits }
            if type == "X" { digits = digits.uppercased() }
            return sign(isNegative: integer.signum < 0, conversion) + digits
        }

        private func float(_ value: Value, _ conversion: Conversion) throws -> String {
            if case .undefined(let undefined) = value { throw undefined.error }
            guard let number = value.number?.double else {
                throw TemplateError.type("must be real number, not \(value.typeName)")
            }
            let precision = conversion.precision ?? 6
            try renderer.checkLength(precision + 400)
            let text = FloatFormat.text(
                number.magnitude, type: conversion.type, precision: precision,
                isAlternate: conversion.flags.contains("#"))
            return sign(isNegative: number.sign == .minus && !number.isNaN, conversion) + text
        }

        private func sign(isNegative: Bool, _ conversion: Conversion) -> String {
            isNegative ? "-" : conversion.flags.contains("+") ? "+" : conversion.flags.contains(" ") ? " " : ""
        }

        private func character(_ value: Value) throws -> TemplateString {
            switch value {
            case .string(let text) where text.count == 1: return text
            case .integer, .bigInteger, .boolean:
                guard let code = value.index.flatMap({ UInt32(exactly: $0) }), code <= 0x10FFFF else {
                    throw TemplateError(.overflow, "%c arg not in range(0x110000)")
                }
                // A number can be any character of a mark.
                return TemplateString([code], origin: .input)
            default: throw TemplateError.type("%c requires int or char")
            }
        }

        private func padded(
            _ text: TemplateString, _ conversion: Conversion, isNumber type: Character
        ) throws -> TemplateString {
            let missing = conversion.width - text.count
            guard missing > 0 else { return text }
            try renderer.checkLength(conversion.width)
            let isNumber = "diuxXoeEfFgG".contains(type)
            var result = TemplateString()
            if conversion.flags.contains("-") {
                result = text
                result.append(String(repeating: " ", count: missing), origin: .template)
            } else if conversion.flags.contains("0"), isNumber,
                !(text.codePoints.last.map(CodePoint.isASCIILetter) == true
                    && "eEfFgG".contains(type))
            {
                // Zeros stand between sign, prefix and digits.
                var head = text.codePoints.first.map { [0x2B, 0x2D, 0x20].contains($0) } == true ? 1 : 0
                if conversion.flags.contains("#"), "xXo".contains(type) { head += 2 }
                result = text[0..<head]
                result.append(String(repeating: "0", count: missing), origin: .template)
                result.append(text, range: head..<text.count)
            } else {
                result.append(String(repeating: " ", count: missing), origin: .template)
                result.append(text)
            }
            return result
        }
    }
}

/// A float in one of the types that `%` and `format` share.
enum FloatFormat {
    /// The number, which is not negative, in C's `printf`.
    static func text(_ value: Double, type: Character, precision: Int, isAlternate: Bool) -> String {
        let isUpper = type.isUppercase
        if value.isNaN { return isUpper ? "NAN" : "nan" }
        if value.isInfinite { return isUpper ? "INF" : "inf" }
        return Arithmetic.decimal(value, "%\(isAlternate ? "#" : "").*\(type)", digits: precision)
    }
}

extension TemplateString {
    /// Python's `ascii`, of a representation.
    var escapingNonASCII: TemplateString {
        mapped { _, codePoint in
            if codePoint < 0x80 { return [codePoint] }
            let escape =
                codePoint < 0x100
                ? "\\x" + hexadecimal(codePoint, width: 2)
                : codePoint < 0x10000
                    ? "\\u" + hexadecimal(codePoint, width: 4) : "\\U" + hexadecimal(codePoint, width: 8)
            return escape.unicodeScalars.map(\.value)
        }
    }
}
