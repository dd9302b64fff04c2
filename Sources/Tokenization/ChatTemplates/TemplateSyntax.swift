/// A piece of a Jinja template.
enum TemplateSegment: Equatable {
    case text(String)
    /// What stands between `{{` and `}}`.
    case output(String)
    /// What stands between `{%` and `%}`.
    case statement(String)
}

/// Splits a template into text and tags as Hugging Face's `apply_chat_template` does: `trim_blocks` and `lstrip_blocks` are
/// on; comments and the line end at the end are dropped.
struct TemplateLexer {
    private var rest: Substring
    /// Whether what was read last ends a line; so does the template's beginning.
    private var startsLine = true
    private var segments: [TemplateSegment] = []

    static func segments(of template: String) throws -> [TemplateSegment] {
        var lexer = TemplateLexer(template)
        while !lexer.rest.isEmpty { try lexer.next() }
        return lexer.segments
    }

    private init(_ template: String) {
        rest = Substring(template.replacing("\r\n", with: "\n"))
        if rest.last == "\n" { rest.removeLast() }
    }

    /// Reads a text and the tag behind it.
    private mutating func next() throws {
        guard let opening = Self.opening(in: rest) else {
            append(rest)
            rest = ""
            return
        }
        var text = rest[..<opening]
        let kind = rest[rest.index(after: opening)]
        rest = rest[opening...].dropFirst(2)
        if let sign = rest.first, sign == "-" || sign == "+" {
            rest.removeFirst()
            if sign == "-" { while text.last?.isWhitespace == true { text.removeLast() } }
        } else if kind != "{" {
            let line = text.lastIndex(of: "\n").map { text[text.index(after: $0)...] } ?? text
            let isWholeLine = line.startIndex != text.startIndex || startsLine
            if isWholeLine, line.allSatisfy(\.isWhitespace) { text.removeLast(line.count) }
        }
        append(text)

        let content = try takeTag(closedBy: kind == "{" ? "}" : kind)
        switch kind {
        case "{": segments.append(.output(content))
        case "%": segments.append(.statement(content))
        default: break
        }
    }

    private mutating func append(_ text: Substring) {
        if !text.isEmpty { segments.append(.text(String(text))) }
    }

    /// Takes a tag's content and its end, with the white space that it removes.
    private mutating func takeTag(closedBy closing: Character) throws -> String {
        var content = ""
        var quote: Character?
        while let character = rest.popFirst() {
            if character == closing, quote == nil, rest.first == "}" {
                rest.removeFirst()
                let after = rest
                if content.last == "-" {
                    content.removeLast()
                    rest = rest.drop(while: \.isWhitespace)
                } else if closing != "}", rest.first == "\n" {
                    rest.removeFirst()
                }
                startsLine = after[..<rest.startIndex].last == "\n"
                return content
            }
            content.append(character)
            guard closing != "#" else { continue }
            if character == "\\", quote != nil, let escaped = rest.popFirst() {
                content.append(escaped)
            } else if character == quote {
                quote = nil
            } else if quote == nil, character == "'" || character == "\"" {
                quote = character
            }
        }
        throw TemplateSyntaxError(reason: "a tag has no end: {\(closing == "}" ? "{" : closing)\(content.prefix(60))")
    }

    private static func opening(in text: Substring) -> Substring.Index? {
        var index = text.startIndex
        while let brace = text[index...].firstIndex(of: "{") {
            index = text.index(after: brace)
            if index < text.endIndex, "{%#".contains(text[index]) { return brace }
        }
        return nil
    }
}

/// A Jinja expression as a list of words, strings and signs, written in one way: however a template quotes, spaces and indexes.
struct TemplateExpression: Equatable {
    enum Word: Equatable {
        case name(String)
        case string(String)
        case sign(String)

        /// As it is written in an outline.
        var spelling: String {
            switch self {
            case .name(let text), .sign(let text): text
            case .string(let text): "'\(text)'"
            }
        }
    }

    private(set) var words: [Word]

    init(words: [Word]) { self.words = words }

    /// Reads an expression.
    ///
    /// - Throws: `TemplateSyntaxError` where a string has no end.
    init(_ text: some StringProtocol) throws {
        words = []
        var rest = Substring(text)
        while let first = rest.first {
            if first.isWhitespace {
                rest.removeFirst()
            } else if first == "'" || first == "\"" {
                words.append(.string(try Self.takeString(from: &rest)))
            } else if first.isLetter || first.isNumber || first == "_" {
                let name = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
                rest.removeFirst(name.count)
                words.append(.name(String(name)))
            } else {
                let pair = rest.prefix(2)
                let sign = ["==", "!=", "<=", ">=", "//", "**"].contains(pair) ? pair : rest.prefix(1)
                rest.removeFirst(sign.count)
                words.append(.sign(String(sign)))
            }
        }
        unifySpellings()
    }

    /// `x['name']` becomes `x.name`, `x.strip()` becomes `x|trim`.
    private mutating func unifySpellings() {
        var unified: [Word] = []
        var index = 0
        while index < words.count {
            let following = Array(words[index...].prefix(4))
            if following.count >= 3, following[0] == .sign("["), case .string(let key) = following[1],
                following[2] == .sign("]"), let last = unified.last, last != .sign("+"), last != .sign("(")
            {
                unified += [.sign("."), .name(key)]
                index += 3
            } else if following == [.sign("."), .name("strip"), .sign("("), .sign(")")] {
                unified += [.sign("|"), .name("trim")]
                index += 4
            } else {
                unified.append(words[index])
                index += 1
            }
        }
        words = unified
    }

    private static func takeString(from rest: inout Substring) throws -> String {
        let quote = rest.removeFirst()
        var text = ""
        while let character = rest.popFirst() {
            if character == quote { return text }
            guard character == "\\", let escaped = rest.popFirst() else {
                text.append(character)
                continue
            }
            switch escaped {
            case "n": text.append("\n")
            case "r": text.append("\r")
            case "t": text.append("\t")
            case "\\", "'", "\"": text.append(escaped)
            default: text += "\\\(escaped)"
            }
        }
        throw TemplateSyntaxError(reason: "a string has no end")
    }

    /// The expression on a line: names apart, nothing else.
    var spelling: String {
        var text = ""
        var previous: Word?
        for word in words {
            if let previous, previous.isWordLike, word.isWordLike { text += " " }
            text += word.spelling
            previous = word
        }
        return text
    }

    /// The summands of a sum of strings.
    var summands: [TemplateExpression] {
        var depth = 0
        return words.split(omittingEmptySubsequences: false) { word in
            if word == .sign("(") || word == .sign("[") { depth += 1 }
            if word == .sign(")") || word == .sign("]") { depth -= 1 }
            return depth == 0 && (word == .sign("+") || word == .sign("~"))
        }.map { TemplateExpression(words: Array($0)) }
    }
}

extension TemplateExpression.Word {
    fileprivate var isWordLike: Bool { if case .sign = self { false } else { true } }
}

/// Text that is not Jinja.
struct TemplateSyntaxError: Error {
    let reason: String
}

/// The condition of an `if`, as far as it is open in a plain conversation: one without tools, documents and reasoning.
indirect enum TemplateCondition: Equatable {
    case constant(Bool)
    case open(String)
    case not(TemplateCondition)
    case any([TemplateCondition])
    case all([TemplateCondition])

    /// What is settled in a plain conversation. Everything else is open.
    private static let settled: [String: Bool] = [
        "tools": false, "tools is defined": false, "tools is not none": false, "tools is none": true,
        "custom_tools": false, "custom_tools is defined": false, "builtin_tools is defined": false,
        "tools_in_user_message is defined": false, "date_string is defined": false, "strftime_now is defined": true,
        "message.tool_calls": false, "message.tool_calls is defined": false, "message.tool_calls is not none": false,
        "'tool_calls' in message": false, "message.role=='tool'": false, "message.role=='tool_results'": false,
        "message.role=='tool_calls'": false, "message.role=='ipython'": false, "enable_thinking is defined": false,
        "message.reasoning_content is defined": false, "message.reasoning_content is string": false,
        "message.content is string": true, "add_generation_prompt is defined": true, "true==true": true,
        "false==true": false,
    ]

    /// Deeper nesting than this is refused.
    private static let maximumDepth = 64

    /// Reads a condition.
    ///
    /// - Throws: `TemplateSyntaxError` where parentheses and negations are nested too deeply.
    init(_ expression: TemplateExpression) throws {
        var words = expression.words[...]
        self = try Self.readAny(&words, depth: 0)
        // Something is left only where parentheses do not match: no known condition looks like this.
        if !words.isEmpty { self = .open(expression.spelling) }
    }

    private static func readAny(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition {
        var terms = [try readAll(&words, depth: depth)]
        while words.first == .name("or") {
            words.removeFirst()
            terms.append(try readAll(&words, depth: depth))
        }
        return joined(terms, decidedBy: true, TemplateCondition.any)
    }

    private static func readAll(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition {
        var terms = [try readTerm(&words, depth: depth)]
        while words.first == .name("and") {
            words.removeFirst()
            terms.append(try readTerm(&words, depth: depth))
        }
        return joined(terms, decidedBy: false, TemplateCondition.all)
    }

    private static func readTerm(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition {
        guard depth <= maximumDepth else { throw TemplateSyntaxError(reason: "nested too deeply") }
        if words.first == .name("not") {
            words.removeFirst()
            let inner = try readTerm(&words, depth: depth + 1)
            if case .constant(let value) = inner { return .constant(!value) }
            return .not(inner)
        }
        if words.first == .sign("("), let inner = try readParenthesized(&words, depth: depth) { return inner }
        var open = 0
        let atom = words.prefix { word in
            if word == .sign("(") || word == .sign("[") { open += 1 }
            if word == .sign(")") || word == .sign("]") { open -= 1 }
            return open > 0 || open == 0 && word != .name("and") && word != .name("or")
        }
        words.removeFirst(atom.count)
        let spelling = TemplateExpression(words: Array(atom)).spelling
        return settled[spelling].map(constant) ?? .open(spelling)
    }

    /// A condition in parentheses; nil where they belong to a comparison.
    private static func readParenthesized(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition? {
        var rest = words.dropFirst()
        let inner = try readAny(&rest, depth: depth + 1)
        guard rest.popFirst() == .sign(")") else { return nil }
        guard [nil, .name("and"), .name("or"), .sign(")")].contains(rest.first) else { return nil }
        words = rest
        return inner
    }

    private static func joined(
        _ terms: [TemplateCondition], decidedBy decisive: Bool, _ join: ([TemplateCondition]) -> TemplateCondition
    ) -> TemplateCondition {
        if terms.contains(.constant(decisive)) { return .constant(decisive) }
        let open = terms.filter { $0 != .constant(!decisive) }
        if open.isEmpty { return .constant(!decisive) }
        return open.count == 1 ? open[0] : join(open)
    }

    /// Whether it holds wherever another does, as far as their spelling shows.
    func follows(from other: TemplateCondition) -> Bool {
        if case .any(let terms) = self, terms.contains(other) { return true }
        return self == other
    }

    /// As it is written in an outline.
    var spelling: String {
        switch self {
        case .constant(let value): value ? "true" : "false"
        case .open(let text): text
        case .not(let inner): "not \(inner.enclosed)"
        case .any(let terms): terms.map(\.enclosed).joined(separator: " or ")
        case .all(let terms): terms.map(\.enclosed).joined(separator: " and ")
        }
    }

    private var enclosed: String {
        switch self {
        case .any, .all: "(\(spelling))"
        default: spelling
        }
    }
}
