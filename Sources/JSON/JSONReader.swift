import Foundation

/// Reads JSON text (RFC 8259) front to back, one value at a time, without building a tree of it.
///
/// A tokenizer's vocabulary and merges are hundreds of thousands of short strings. They go straight into the tables
/// that need them, as bytes: a tree would build as many strings first, and would merge keys that are canonically
/// equivalent ("é" as one scalar and as two), which are different tokens. Small files are read as a tree, by
/// `readValue(duplicateKeys:)`.
///
/// The bytes are not trusted: they are checked to be UTF-8, nesting is bounded, and what is not JSON is refused.
package struct JSONReader {
    /// Deeper nesting than this is refused, so that hostile input cannot exhaust the stack.
    private static let maximumDepth = 64
    /// More combining marks in a row than this are refused.
    package static let maximumMarkCount = 128

    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0
    private var depth = 0
    /// How many values `readValue(duplicateKeys:)` has read.
    var treeValueCount = 0

    /// Reads from `bytes`, which must outlive the reader.
    ///
    /// - Throws: ``JSONError`` where they are not UTF-8.
    package init(validating bytes: UnsafeRawBufferPointer) throws {
        self.bytes = bytes.bindMemory(to: UInt8.self)
        guard String(validating: self.bytes, as: UTF8.self) != nil else {
            position = Self.validPrefixLength(of: self.bytes)
            throw failure(.notUTF8)
        }
    }

    /// The kind of value that comes next.
    package enum Kind: String {
        case object = "an object"
        case array = "an array"
        case string = "a string"
        case number = "a number"
        case boolean = "a boolean"
        case null
    }

    /// The kind of the next value, by its first byte.
    package mutating func peekKind() throws -> Kind {
        skipWhitespace()
        guard position < bytes.count else { throw failure("the text ends where a value should be") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .boolean
        case UInt8(ascii: "n"): return .null
        default: throw failure("no JSON value begins here")
        }
    }

    /// Reads an object. `member` is called with each key and must read the value.
    package mutating func readObject(_ member: (inout JSONReader, _ key: [UInt8]) throws -> Void) throws {
        try readSequence(endingWith: "}", of: .object) { reader in
            var key: [UInt8] = []
            try reader.readString(into: &key)
            try reader.expect(":")
            try member(&reader, key)
        }
    }

    /// Reads an array. `element` is called for each element and must read it.
    package mutating func readArray(_ element: (inout JSONReader) throws -> Void) throws {
        try readSequence(endingWith: "]", of: .array, element)
    }

    /// Reads a string and appends its bytes, unescaped, to `output`.
    package mutating func readString(into output: inout [UInt8]) throws {
        try expectKind(.string)
        position += 1
        while true {
            let start = position
            while position < bytes.count, bytes[position] >= 0x20, bytes[position] != UInt8(ascii: "\""),
                bytes[position] != UInt8(ascii: "\\")
            {
                position += 1
            }
            output.append(contentsOf: bytes[start..<position])
            guard position < bytes.count else { throw failure("the text ends inside a string") }
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position += 1
                return
            case UInt8(ascii: "\\"):
                try readEscape(into: &output)
            default:
                throw failure("a control character inside a string is not escaped")
            }
        }
    }

    /// What was read as a `String`, in which no character has marks without end.
    ///
    /// Swift compares and hashes strings by their canonical form, and to find it takes time that grows with the square of a
    /// run of marks: a key of 160 kB would take seconds. (Unicode's Stream-Safe Text Format allows 30 marks.)
    package func text(of bytes: [UInt8]) throws -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        var markCount = 0
        for scalar in text.unicodeScalars {
            guard scalar.isReorderedMark else {
                markCount = 0
                continue
            }
            markCount += 1
            guard markCount <= Self.maximumMarkCount else { throw failure(.tooManyMarks(limit: Self.maximumMarkCount)) }
        }
        return text
    }

    /// Reads an integer that fits in `Int`.
    package mutating func readInteger() throws -> Int {
        let start = position
        let text = try readNumberText()
        guard let value = Int(text) else {
            position = start
            throw failure("expected an integer, found \(text.prefix(32))")
        }
        return value
    }

    /// Reads a number that a `Double` can hold: `integer` where it is written as one and fits, else `number`.
    package mutating func readNumber() throws -> JSONValue {
        skipWhitespace()
        if let integer = takeShortInteger() { return .integer(integer) }
        let start = position
        let text = try readNumberText()
        if let integer = Int(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else {
            position = start
            throw failure("expected a number within range, found \(text.prefix(32))")
        }
        return .number(number)
    }

    /// Reads `true` or `false`.
    package mutating func readBoolean() throws -> Bool {
        try expectKind(.boolean)
        if takeWord("true") { return true }
        if takeWord("false") { return false }
        throw failure("no JSON value begins here")
    }

    /// Reads `null`.
    package mutating func readNull() throws {
        try expectKind(.null)
        guard takeWord("null") else { throw failure("no JSON value begins here") }
    }

    /// Checks that nothing but white space is left.
    package mutating func readEnd() throws {
        skipWhitespace()
        guard position == bytes.count else { throw failure("text follows the end of the JSON value") }
    }

    /// A failure at the present position.
    func failure(_ problem: JSONError.Problem) -> JSONError { JSONError(problem: problem, offset: position) }

    private func failure(_ reason: String) -> JSONError { failure(.syntax(reason)) }

    // MARK: Parts

    private mutating func readSequence(
        endingWith close: Unicode.Scalar,
        of kind: Kind,
        _ item: (inout JSONReader) throws -> Void
    ) throws {
        try expectKind(kind)
        guard depth < Self.maximumDepth else { throw failure(.tooDeep(limit: Self.maximumDepth)) }
        depth += 1
        defer { depth -= 1 }
        position += 1
        skipWhitespace()
        if position < bytes.count, bytes[position] == UInt8(ascii: close) {
            position += 1
            return
        }
        while true {
            try item(&self)
            skipWhitespace()
            guard position < bytes.count else { throw failure("the text ends inside \(kind.rawValue)") }
            let separator = bytes[position]
            position += 1
            if separator == UInt8(ascii: close) { return }
            guard separator == UInt8(ascii: ",") else {
                position -= 1
                throw failure("expected \",\" or \"\(close)\"")
            }
            skipWhitespace()
        }
    }

    private mutating func readEscape(into output: inout [UInt8]) throws {
        guard position + 1 < bytes.count else { throw failure("the text ends inside a string") }
        let letter = bytes[position + 1]
        position += 2
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(letter)
        case UInt8(ascii: "b"): output.append(0x08)
        case UInt8(ascii: "f"): output.append(0x0C)
        case UInt8(ascii: "n"): output.append(0x0A)
        case UInt8(ascii: "r"): output.append(0x0D)
        case UInt8(ascii: "t"): output.append(0x09)
        case UInt8(ascii: "u"):
            var value = UInt32(try readHexadecimalUnit())
            if 0xD800..<0xDC00 ~= value, position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                bytes[position + 1] == UInt8(ascii: "u")
            {
                position += 2
                let low = UInt32(try readHexadecimalUnit())
                guard 0xDC00..<0xE000 ~= low else { throw failure("half of a surrogate pair without the other") }
                value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(value) else {
                throw failure("half of a surrogate pair without the other")
            }
            output.append(contentsOf: UTF8.encode(scalar).unsafelyUnwrapped)
        default:
            throw failure("unknown escape in a string")
        }
    }

    private mutating func readHexadecimalUnit() throws -> UInt16 {
        guard position + 4 <= bytes.count else { throw failure("the text ends inside a string") }
        var unit: UInt16 = 0
        for byte in bytes[position..<position + 4] {
            guard let digit = hexadecimalValue(of: byte) else { throw failure("\\u needs four hexadecimal digits") }
            unit = unit << 4 | UInt16(digit)
        }
        position += 4
        return unit
    }

    private mutating func readNumberText() throws -> String {
        try expectKind(.number)
        let start = position
        if bytes[position] == UInt8(ascii: "-") { position += 1 }
        let whole = skipDigits()
        guard whole == 1 || (whole > 1 && bytes[position - whole] != UInt8(ascii: "0")) else {
            throw failure("not a JSON number")
        }
        if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
            position += 1
            guard skipDigits() > 0 else { throw failure("not a JSON number") }
        }
        if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
            position += 1
            if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-") {
                position += 1
            }
            guard skipDigits() > 0 else { throw failure("not a JSON number") }
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// An integer of up to 18 digits, without a string of it: corpora are lists of millions of token ids. Nil, and nothing is
    /// read, where something else comes next.
    private mutating func takeShortInteger() -> Int? {
        let isNegative = position < bytes.count && bytes[position] == UInt8(ascii: "-")
        let start = isNegative ? position + 1 : position
        var (end, value) = (start, 0)
        while end < bytes.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= bytes[end], end - start < 19 {
            value = value &* 10 &+ Int(bytes[end] - UInt8(ascii: "0"))
            end += 1
        }
        guard 1...18 ~= end - start, end - start == 1 || bytes[start] != UInt8(ascii: "0") else { return nil }
        if end < bytes.count, bytes[end] == UInt8(ascii: ".") || bytes[end] | 0x20 == UInt8(ascii: "e") { return nil }
        position = end
        return isNegative ? -value : value
    }

    private mutating func skipDigits() -> Int {
        let start = position
        while position < bytes.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= bytes[position] { position += 1 }
        return position - start
    }

    private mutating func takeWord(_ word: StaticString) -> Bool {
        let end = position + word.utf8CodeUnitCount
        guard end <= bytes.count else { return false }
        for (offset, byte) in bytes[position..<end].enumerated() where byte != word.utf8Start[offset] { return false }
        position = end
        return true
    }

    private mutating func expect(_ scalar: Unicode.Scalar) throws {
        skipWhitespace()
        guard position < bytes.count, bytes[position] == UInt8(ascii: scalar) else {
            throw failure("expected \"\(scalar)\"")
        }
        position += 1
    }

    private mutating func expectKind(_ kind: Kind) throws {
        let found = try peekKind()
        guard found == kind else { throw failure("expected \(kind.rawValue), found \(found.rawValue)") }
    }

    private mutating func skipWhitespace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    package static func validPrefixLength(of bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var parser = Unicode.UTF8.ForwardParser()
        var rest = bytes.makeIterator()
        var length = 0
        while case .valid(let scalar) = parser.parseScalar(from: &rest) { length += scalar.count }
        return length
    }
}

extension Unicode.Scalar {
    /// Whether canonical order moves this scalar, or what it decomposes into, among its neighbors.
    package var isReorderedMark: Bool {
        switch value {
        case 0..<0x300: false
        case 0x0F73, 0x0F75, 0x0F81: true  // of class 0, but they decompose into marks
        default: properties.canonicalCombiningClass != .notReordered
        }
    }
}

/// The value of a hexadecimal digit, either case.
package func hexadecimalValue(of byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// What is wrong with a JSON text, and where.
package struct JSONError: LocalizedError, Sendable, Equatable {
    package enum Problem: Sendable, Equatable {
        /// Not JSON, or JSON of another kind than what is being read.
        case syntax(String)
        case notUTF8
        case duplicateKey(String)
        case tooDeep(limit: Int)
        case tooManyValues(limit: Int)
        /// A character with more combining marks than in any script.
        case tooManyMarks(limit: Int)
    }

    package let problem: Problem
    /// Offset of the byte at which the reader stopped.
    package let offset: Int

    /// The problem without its location.
    package var reason: String {
        switch problem {
        case .syntax(let reason): reason
        case .notUTF8: "not valid UTF-8, so not JSON"
        case .duplicateKey(let key): "the key \"\(key)\" occurs twice"
        case .tooDeep(let limit): "nested deeper than \(limit) levels"
        case .tooManyValues(let limit): "more than \(limit) values"
        case .tooManyMarks(let limit): "more than \(limit) combining marks in a row"
        }
    }

    package var errorDescription: String? {
        if case .syntax(let reason) = problem { return "not JSON: \(reason) (byte \(offset))" }
        return "\(reason) (byte \(offset))"
    }
}
