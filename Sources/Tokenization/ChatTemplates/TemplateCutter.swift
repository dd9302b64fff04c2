/// A piece of a Jinja template.
enum TemplateSegment: Equatable {
    case text(String)
    /// What stands between `{{` and `}}`.
    case output(String)
    /// What stands between `{%` and `%}`.
    case statement(String)
}

/// Cuts a template as Hugging Face's `apply_chat_template` does: `trim_blocks` and `lstrip_blocks` are on, comments and the
/// line end at the end do not count.
struct TemplateCutter {
    private var rest: Substring
    /// Whether what was read last ends a line; so does the template's beginning.
    private var startsLine = true
    private var segments: [TemplateSegment] = []

    static func cut(_ template: String) throws -> [TemplateSegment] {
        var cutter = TemplateCutter(template)
        while !cutter.rest.isEmpty { try cutter.next() }
        return cutter.segments
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

    /// Takes a tag's content and its end, with the white space that it swallows.
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
