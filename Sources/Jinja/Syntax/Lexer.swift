/// A token of a template, and the offset at which it begins.
struct Token: Equatable {
    enum Kind: Equatable {
        /// Text outside of tags.
        case text([UInt32])
        /// `{{` and `}}`.
        case outputBegin, outputEnd
        /// `{%` and `%}`.
        case statementBegin, statementEnd
        case name(String)
        case string([UInt32])
        case integer(BigInteger)
        case float(Double)
        case sign(Sign)
        case end
    }

    enum Sign: String, CaseIterable {
        // Longer ones stand before those that they begin with.
        case power = "**"
        case floorDivide = "//"
        case equal = "=="
        case notEqual = "!="
        case lessOrEqual = "<="
        case greaterOrEqual = ">="
        case plus = "+"
        case minus = "-"
        case divide = "/"
        case multiply = "*"
        case modulo = "%"
        case tilde = "~"
        case leftBracket = "["
        case rightBracket = "]"
        case leftParenthesis = "("
        case rightParenthesis = ")"
        case leftBrace = "{"
        case rightBrace = "}"
        case greater = ">"
        case less = "<"
        case assign = "="
        case dot = "."
        case colon = ":"
        case pipe = "|"
        case comma = ","
        case semicolon = ";"
    }

    let kind: Kind
    let position: Int

    /// As an error names it.
    var description: String {
        switch kind {
        case .text: "text"
        case .outputBegin: "{{"
        case .outputEnd: "end of print statement"
        case .statementBegin: "{%"
        case .statementEnd: "end of statement block"
        case .name(let name): name
        case .string: "string"
        case .integer: "integer"
        case .float: "float"
        case .sign(let sign): sign.rawValue
        case .end: "end of template"
        }
    }
}

/// How white space around tags is treated.
package struct WhitespaceControl: Sendable, Hashable {
    /// Whether the line end behind a statement or comment goes.
    package var trimsBlocks = true
    /// Whether white space before a statement or comment goes, if nothing else stands before it on its line.
    package var stripsBlocks = true

    package init() {}
}

/// Takes a template apart, as jinja2's lexer does.
struct Lexer {
    /// The template with line feeds for all line ends, without the one at its end.
    let source: [UInt32]
    private let control: WhitespaceControl
    private var position = 0
    private var tokens: [Token] = []
    /// Whether what was read last ended a line; so does the template's beginning.
    private var startsLine = true

    /// - Throws: ``SyntaxError``
    static func tokens(of source: [UInt32], control: WhitespaceControl) throws -> [Token] {
        var lexer = Lexer(source: source, control: control)
        while lexer.position < lexer.source.count { try lexer.readTextAndTag() }
        lexer.tokens.append(Token(kind: .end, position: lexer.source.count))
        return lexer.tokens
    }

    private init(source: [UInt32], control: WhitespaceControl) {
        self.source = source
        self.control = control
    }

    /// A text with its line ends unified.
    static func normalized(_ text: String) -> [UInt32] {
        var source: [UInt32] = []
        source.reserveCapacity(text.utf8.count)
        var followsReturn = false
        for scalar in text.unicodeScalars {
            if !(followsReturn && scalar == "\n") { source.append(scalar == "\r" ? 0x0A : scalar.value) }
            followsReturn = scalar == "\r"
        }
        if source.last == 0x0A { source.removeLast() }
        return source
    }

    // MARK: Text

    private enum Tag { case output, statement, comment }

    private mutating func readTextAndTag() throws {
        let start = position
        guard let (opening, tag) = nextTag() else {
            append(text: start..<source.count)
            position = source.count
            return
        }
        position = opening + 2
        let sign = takeSign()
        append(text: start..<strippedEnd(of: start..<opening, sign: sign, isOutput: tag == .output))
        startsLine = false
        switch tag {
        case .comment: try skipComment(from: opening)
        case .output:
            tokens.append(Token(kind: .outputBegin, position: opening))
            try readTag(isOutput: true)
        case .statement:
            if takeRawBegin() {
                try readRaw(from: opening)
            } else {
                tokens.append(Token(kind: .statementBegin, position: opening))
                try readTag(isOutput: false)
            }
        }
    }

    private func nextTag() -> (opening: Int, tag: Tag)? {
        source.withUnsafeBufferPointer { source in
            var index = position
            while index + 1 < source.count {
                if source[index] == 0x7B {
                    switch source[index + 1] {
                    case 0x7B: return (index, .output)
                    case 0x25: return (index, .statement)
                    case 0x23: return (index, .comment)
                    default: break
                    }
                }
                index += 1
            }
            return nil
        }
    }

    private mutating func append(text range: Range<Int>) {
        guard !range.isEmpty else { return }
        tokens.append(Token(kind: .text(Array(source[range])), position: range.lowerBound))
    }

    private func at(_ text: StaticString, _ offset: Int) -> Bool {
        text.withUTF8Buffer { text in
            guard offset + text.count <= source.count else { return false }
            for (index, byte) in text.enumerated() where source[offset + index] != UInt32(byte) { return false }
            return true
        }
    }

    private mutating func takeSign() -> Character? {
        if at("-", position) || at("+", position) {
            position += 1
            return at("-", position - 1) ? "-" : "+"
        }
        return nil
    }

    /// The end of a text without the white space that the tag behind it takes away.
    private func strippedEnd(of text: Range<Int>, sign: Character?, isOutput: Bool) -> Int {
        var end = text.upperBound
        if sign == "-" {
            while end > text.lowerBound, CodePoint.isSpace(source[end - 1]) { end -= 1 }
        } else if sign == nil, control.stripsBlocks, !isOutput {
            while end > text.lowerBound, source[end - 1] != 0x0A {
                guard CodePoint.isSpace(source[end - 1]) else { return text.upperBound }
                end -= 1
            }
            if end == text.lowerBound, !startsLine { return text.upperBound }
        }
        return end
    }

    /// Takes `-%}`, `+%}` or `%}` and their like, with the white space behind that goes. False where there is none.
    private mutating func takeTagEnd(_ ending: StaticString, isOutput: Bool) -> Bool {
        let sign: Character? = at("-", position) ? "-" : at("+", position) && !isOutput ? "+" : nil
        let start = position + (sign == nil ? 0 : 1)
        guard at(ending, start) else { return false }
        position = start + 2
        if sign == "-" {
            while position < source.count, CodePoint.isSpace(source[position]) { position += 1 }
        } else if sign == nil, !isOutput, control.trimsBlocks, at("\n", position) {
            position += 1
        }
        startsLine = source[position - 1] == 0x0A
        return true
    }

    private mutating func skipComment(from opening: Int) throws {
        while position < source.count {
            if takeTagEnd("#}", isOutput: false) { return }
            position += 1
        }
        throw SyntaxError("missing end of comment: expected #}", at: opening)
    }

    // MARK: Raw text

    /// Takes the rest of `{% raw %}`.
    private mutating func takeRawBegin() -> Bool {
        var end = position
        while end < source.count, CodePoint.isSpace(source[end]) { end += 1 }
        guard at("raw", end) else { return false }
        end += 3
        while end < source.count, CodePoint.isSpace(source[end]) { end += 1 }
        if at("-%}", end) {
            end += 3
            while end < source.count, CodePoint.isSpace(source[end]) { end += 1 }
        } else if at("%}", end) {
            end += 2
        } else {
            return false
        }
        startsLine = source[end - 1] == 0x0A
        position = end
        return true
    }

    private mutating func readRaw(from opening: Int) throws {
        let start = position
        while position < source.count {
            let end = position
            guard at("{%", end) else {
                position += 1
                continue
            }
            position += 2
            let sign = takeSign()
            while position < source.count, CodePoint.isSpace(source[position]) { position += 1 }
            if at("endraw", position) {
                position += 6
                while position < source.count, CodePoint.isSpace(source[position]) { position += 1 }
                let startedLine = startsLine
                if takeTagEnd("%}", isOutput: false) {
                    let endedLine = startsLine
                    startsLine = startedLine
                    append(text: start..<strippedEnd(of: start..<end, sign: sign, isOutput: false))
                    startsLine = endedLine
                    return
                }
            }
            position = end + 1
        }
        throw SyntaxError("missing end of raw: expected {% endraw %}", at: opening)
    }

    // MARK: Tags

    /// Reads tokens up to the end of a tag. An end inside parentheses or braces is none.
    private mutating func readTag(isOutput: Bool) throws {
        var open: [Token.Sign] = []
        while position < source.count {
            let start = position
            if open.isEmpty, isOutput ? takeTagEnd("}}", isOutput: true) : takeTagEnd("%}", isOutput: false) {
                tokens.append(Token(kind: isOutput ? .outputEnd : .statementEnd, position: start))
                return
            }
            let codePoint = source[position]
            if CodePoint.isSpace(codePoint) {
                position += 1
            } else if CodePoint.isDecimal(codePoint) {
                try readNumber()
            } else if CodePoint.isWord(codePoint) || CodePoint.isIdentifierPart(codePoint) {
                try readName()
            } else if codePoint == 0x27 || codePoint == 0x22 {
                try readString()
            } else {
                try readSign(open: &open)
            }
        }
        let expected = open.last?.rawValue ?? (isOutput ? "}}" : "%}")
        throw SyntaxError("unexpected end of template, expected \(expected)", at: position)
    }

    private mutating func readSign(open: inout [Token.Sign]) throws {
        guard let sign = Token.Sign.allCases.first(where: { matches($0) }) else {
            let found = TemplateString.text(of: source[position...position])
            throw SyntaxError("unexpected character '\(found)'", at: position)
        }
        switch sign {
        case .leftBrace: open.append(.rightBrace)
        case .leftBracket: open.append(.rightBracket)
        case .leftParenthesis: open.append(.rightParenthesis)
        case .rightBrace, .rightBracket, .rightParenthesis:
            let expected = open.popLast()
            if expected != sign {
                let hint = expected.map { ", expected '\($0.rawValue)'" } ?? ""
                throw SyntaxError("unexpected '\(sign.rawValue)'\(hint)", at: position)
            }
        default: break
        }
        tokens.append(Token(kind: .sign(sign), position: position))
        position += sign.rawValue.utf8.count
    }

    private func matches(_ sign: Token.Sign) -> Bool {
        var offset = position
        for byte in sign.rawValue.utf8 {
            guard offset < source.count, source[offset] == UInt32(byte) else { return false }
            offset += 1
        }
        return true
    }

    private mutating func readName() throws {
        let start = position
        while position < source.count, CodePoint.isIdentifierPart(source[position]) { position += 1 }
        guard position > start, CodePoint.isIdentifierStart(source[start]) else {
            throw SyntaxError("invalid character in a name", at: start)
        }
        tokens.append(Token(kind: .name(TemplateString.text(of: source[start..<position])), position: start))
    }
}

/// What is no Jinja, before it is known in which line it stands.
struct SyntaxError: Error {
    let message: String
    let position: Int

    init(_ message: String, at position: Int) {
        self.message = message
        self.position = position
    }
}

// MARK: Numbers and strings

extension Lexer {
    /// Reads digits of a base with `_` between them: their values, without the underscores.
    private func digits(from start: Int, base: UInt32) -> (values: [UInt32], end: Int) {
        var values: [UInt32] = []
        var index = start
        while index < source.count {
            var next = index
            // An underscore stands between digits, or between the base's letter and the first one.
            if source[next] == 0x5F, !values.isEmpty || base != 10 { next += 1 }
            guard next < source.count, let value = digitValue(source[next]), value < base else { break }
            values.append(value)
            index = next + 1
        }
        return (values, index)
    }

    private func digitValue(_ codePoint: UInt32) -> UInt32? {
        switch codePoint {
        case 0x41...0x46: codePoint - 0x41 + 10
        case 0x61...0x66: codePoint - 0x61 + 10
        default: CodePoint.decimalValue(codePoint)
        }
    }

    private mutating func readNumber() throws {
        let start = position
        let followsDot = start > 0 && source[start - 1] == 0x2E
        if !followsDot, let (number, end) = float(from: start) {
            position = end
            tokens.append(Token(kind: .float(number), position: start))
            return
        }
        var base: UInt32 = 10
        if source[start] == 0x30, start + 1 < source.count {
            switch source[start + 1] | 0x20 {
            case 0x78: base = 16
            case 0x6F: base = 8
            case 0x62: base = 2
            default: break
            }
        }
        if base != 10, case (let values, let end) = digits(from: start + 2, base: base), !values.isEmpty {
            return try append(integer: values, base: base, to: end)
        }
        var (values, end) = digits(from: start, base: 10)
        if values.first == 0 {
            // Zeros alone: `01` is `0` and `1`.
            values = values.prefix { $0 == 0 }
            var zeros = 0
            end = start
            while zeros < values.count {
                if source[end] != 0x5F { zeros += 1 }
                end += 1
            }
        }
        try append(integer: values, base: 10, to: end)
    }

    private mutating func append(integer values: [UInt32], base: UInt32, to end: Int) throws {
        guard let value = BigInteger(values, base: base) else {
            throw SyntaxError("an integer of more than \(BigInteger.maximumBits) bits", at: position)
        }
        tokens.append(Token(kind: .integer(value), position: position))
        position = end
    }

    private func float(from start: Int) -> (number: Double, end: Int)? {
        let (whole, wholeEnd) = digits(from: start, base: 10)
        guard !whole.isEmpty else { return nil }
        var text = whole.map(String.init).joined()
        var end = wholeEnd
        var isFloat = false
        if end < source.count, source[end] == 0x2E,
            case (let fraction, let fractionEnd) = digits(from: end + 1, base: 10),
            !fraction.isEmpty
        {
            text += "." + fraction.map(String.init).joined()
            end = fractionEnd
            isFloat = true
        }
        if end < source.count, source[end] | 0x20 == 0x65 {
            let hasSign = end + 1 < source.count && (source[end + 1] == 0x2B || source[end + 1] == 0x2D)
            let (exponent, exponentEnd) = digits(from: end + (hasSign ? 2 : 1), base: 10)
            if !exponent.isEmpty {
                text += "e" + (hasSign && source[end + 1] == 0x2D ? "-" : "") + exponent.map(String.init).joined()
                end = exponentEnd
                isFloat = true
            }
        }
        return isFloat ? Double(text).map { ($0, end) } : nil
    }

    private mutating func readString() throws {
        let start = position
        let quote = source[position]
        var text: [UInt32] = []
        position += 1
        while position < source.count, source[position] != quote {
            if source[position] == 0x5C {
                try readEscape(into: &text, string: start)
            } else {
                text.append(source[position])
                position += 1
            }
        }
        guard position < source.count else { throw SyntaxError("a string has no end", at: start) }
        position += 1
        tokens.append(Token(kind: .string(text), position: start))
    }

    /// Reads an escape of Python's strings. One that is not known stands for itself.
    private mutating func readEscape(into text: inout [UInt32], string start: Int) throws {
        position += 1
        guard position < source.count else { throw SyntaxError("a string has no end", at: start) }
        let escaped = source[position]
        position += 1
        switch Unicode.Scalar(escaped) {
        case "\n": break
        case "\\", "'", "\"": text.append(escaped)
        case "n": text.append(0x0A)
        case "r": text.append(0x0D)
        case "t": text.append(0x09)
        case "a": text.append(0x07)
        case "b": text.append(0x08)
        case "f": text.append(0x0C)
        case "v": text.append(0x0B)
        case "x": text.append(try readCode(digits: 2))
        case "u": text.append(try readCode(digits: 4))
        case "U": text.append(try readCode(digits: 8))
        case "N": throw SyntaxError("\\N, a character by its name, is not supported; expected \\u", at: position - 2)
        case .some("0"..."7"):
            var value = escaped - 0x30
            var count = 1
            while count < 3, position < source.count, 0x30...0x37 ~= source[position] {
                value = value * 8 + source[position] - 0x30
                position += 1
                count += 1
            }
            text.append(value)
        default: text += [0x5C, escaped]
        }
    }

    private mutating func readCode(digits count: Int) throws -> UInt32 {
        let start = position - 2
        var value: UInt32 = 0
        for _ in 0..<count {
            guard position < source.count, source[position] < 0x80, let digit = digitValue(source[position]) else {
                throw SyntaxError("truncated escape in a string: expected \(count) hexadecimal digits", at: start)
            }
            guard value < 1 << 28 else { break }
            value = value * 16 + digit
            position += 1
        }
        guard value <= 0x10FFFF else { throw SyntaxError("an escape beyond U+10FFFF", at: start) }
        return value
    }
}
