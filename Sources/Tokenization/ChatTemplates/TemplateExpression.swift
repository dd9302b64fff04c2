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
