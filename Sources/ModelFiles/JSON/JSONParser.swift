import Foundation

/// What is wrong with a JSON text, and where.
package enum JSONError: LocalizedError, Sendable, Equatable {
    case syntax(expected: String, offset: Int)
    case notUTF8(offset: Int)
    case duplicateKey(String)
    case tooDeep(limit: Int)
    case tooManyValues(limit: Int)

    package var errorDescription: String? {
        switch self {
        case .syntax(let expected, let offset): "not JSON: expected \(expected) at byte \(offset)"
        case .notUTF8(let offset): "not UTF-8 in the string at byte \(offset)"
        case .duplicateKey(let key): "the key \"\(key)\" stands twice"
        case .tooDeep(let limit): "nested deeper than \(limit) levels"
        case .tooManyValues(let limit): "more than \(limit) values"
        }
    }
}

/// A strict JSON reader (RFC 8259) for bytes that nobody vouches for: depth and number of values are bounded, and a
/// key that stands twice in one object is an error at every level.
package struct JSONParser {
    /// Nesting that no configuration or header comes near.
    static let depthLimit = 64
    /// Values, which bounds the memory that a hostile text can ask for to a few hundred megabytes.
    static let valueLimit = 5_000_000

    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0
    private var valueCount = 0

    /// Parses a whole text, optionally followed by whitespace.
    ///
    /// - Throws: ``JSONError``.
    package static func parse(_ bytes: UnsafeRawBufferPointer) throws -> JSONValue {
        try bytes.withMemoryRebound(to: UInt8.self) { bytes in
            var parser = JSONParser(bytes: bytes)
            parser.skipWhitespace()
            let value = try parser.parseValue(depth: 0)
            parser.skipWhitespace()
            guard parser.position == bytes.count else { throw parser.expected("the end") }
            return value
        }
    }

    /// Parses a whole text.
    package static func parse(_ data: Data) throws -> JSONValue {
        try data.withUnsafeBytes { try parse($0) }
    }

    private init(bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
    }

    /// The byte at the position; 0, which is no part of JSON outside strings, past the end.
    private var current: UInt8 { position < bytes.count ? bytes[position] : 0 }

    private func expected(_ what: String) -> JSONError { .syntax(expected: what, offset: position) }

    private mutating func skipWhitespace() {
        while current == 0x20 || current == 0x0A || current == 0x0D || current == 0x09 { position += 1 }
    }

    private mutating func take(_ character: Character) throws {
        guard position < bytes.count, current == character.asciiValue else { throw expected("\"\(character)\"") }
        position += 1
    }

    private mutating func parseValue(depth: Int) throws -> JSONValue {
        guard depth < Self.depthLimit else { throw JSONError.tooDeep(limit: Self.depthLimit) }
        valueCount += 1
        guard valueCount <= Self.valueLimit else { throw JSONError.tooManyValues(limit: Self.valueLimit) }
        switch current {
        case UInt8(ascii: "{"): return .object(try parseObject(depth: depth))
        case UInt8(ascii: "["): return .array(try parseArray(depth: depth))
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .boolean(true))
        case UInt8(ascii: "f"): return try parseWord("false", .boolean(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        default: return try parseNumber()
        }
    }

    private mutating func parseWord(_ word: StaticString, _ value: JSONValue) throws -> JSONValue {
        for index in 0..<word.utf8CodeUnitCount {
            guard current == word.utf8Start[index] else { throw expected("\"\(word)\"") }
            position += 1
        }
        return value
    }

    private mutating func parseObject(depth: Int) throws -> JSONObject {
        try take("{")
        var object = JSONObject()
        var keys = Set<String>()
        skipWhitespace()
        if current == UInt8(ascii: "}") {
            position += 1
            return object
        }
        while true {
            skipWhitespace()
            let key = try parseString()
            guard keys.insert(key).inserted else { throw JSONError.duplicateKey(key) }
            skipWhitespace()
            try take(":")
            skipWhitespace()
            object.append(key, try parseValue(depth: depth + 1))
            skipWhitespace()
            if current == UInt8(ascii: "}") {
                position += 1
                return object
            }
            try take(",")
        }
    }

    private mutating func parseArray(depth: Int) throws -> [JSONValue] {
        try take("[")
        var elements: [JSONValue] = []
        skipWhitespace()
        if current == UInt8(ascii: "]") {
            position += 1
            return elements
        }
        while true {
            skipWhitespace()
            elements.append(try parseValue(depth: depth + 1))
            skipWhitespace()
            if current == UInt8(ascii: "]") {
                position += 1
                return elements
            }
            try take(",")
        }
    }

    private mutating func parseNumber() throws -> JSONValue {
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        let firstDigit = current
        let integerDigits = skipDigits()
        guard integerDigits > 0, integerDigits == 1 || firstDigit != UInt8(ascii: "0") else {
            throw expected("a value")
        }
        var isInteger = true
        if current == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            guard skipDigits() > 0 else { throw expected("a digit") }
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            isInteger = false
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            guard skipDigits() > 0 else { throw expected("a digit") }
        }
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        if isInteger, let integer = Int(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else {
            throw JSONError.syntax(expected: "a number within range", offset: start)
        }
        return .number(number)
    }

    private mutating func skipDigits() -> Int {
        let start = position
        while current >= UInt8(ascii: "0") && current <= UInt8(ascii: "9") { position += 1 }
        return position - start
    }

    private mutating func parseString() throws -> String {
        try take("\"")
        let start = position
        // The common string has no escapes: find its end and decode it in one piece.
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") {
                let text = try decode(bytes[start..<position], from: start)
                position += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { return try parseEscapedString(from: start) }
            guard byte >= 0x20 else { throw expected("no control character in a string") }
            position += 1
        }
        throw expected("the end of a string")
    }

    private func decode(_ slice: Slice<UnsafeBufferPointer<UInt8>>, from start: Int) throws -> String {
        guard let text = String(validating: slice, as: UTF8.self) else { throw JSONError.notUTF8(offset: start) }
        return text
    }

    private mutating func parseEscapedString(from start: Int) throws -> String {
        var units = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: units, as: UTF8.self) else {
                    throw JSONError.notUTF8(offset: start)
                }
                return text
            case UInt8(ascii: "\\"):
                units.append(contentsOf: String(try parseEscape()).utf8)
            case 0..<0x20:
                throw expected("no control character in a string")
            default:
                units.append(byte)
            }
        }
        throw expected("the end of a string")
    }

    private mutating func parseEscape() throws -> Unicode.Scalar {
        let byte = current
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let high = try parseHexadecimal()
            if let scalar = Unicode.Scalar(high) { return scalar }
            // A surrogate pair spells one scalar above U+FFFF.
            guard (0xD800..<0xDC00).contains(high) else { throw expected("a high surrogate before a low one") }
            try take("\\")
            try take("u")
            let low = try parseHexadecimal()
            guard (0xDC00..<0xE000).contains(low),
                let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
            else { throw expected("a low surrogate") }
            return scalar
        default:
            throw expected("an escape")
        }
    }

    private mutating func parseHexadecimal() throws -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(current)).hexDigitValue else {
                throw expected("a hexadecimal digit")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
