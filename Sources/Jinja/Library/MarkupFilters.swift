extension TemplateString {
    /// The text as plain text, whatever it is.
    var unmarked: TemplateString {
        var text = self
        text.isMarkup = false
        return text
    }

    /// The text as HTML: escaped, if it is not HTML already.
    var escaped: TemplateString {
        if isMarkup { return self }
        var text = mapped { _, codePoint in
            switch codePoint {
            case 0x26: Array("&amp;".unicodeScalars.map(\.value))
            case 0x3C: Array("&lt;".unicodeScalars.map(\.value))
            case 0x3E: Array("&gt;".unicodeScalars.map(\.value))
            case 0x22: Array("&#34;".unicodeScalars.map(\.value))
            case 0x27: Array("&#39;".unicodeScalars.map(\.value))
            default: [codePoint]
            }
        }
        text.isMarkup = true
        return text
    }
}

extension Renderer {
    func escaped(_ value: Value) throws -> TemplateString {
        let text = try value.printed()
        try checkLength(text.count)
        return text.escaped
    }
}

/// The filters of HTML.
enum MarkupFilters {
    static let all: [String: Filter] = {
        let escape = Filters.reading("escape") { renderer, value, _ in .string(try renderer.escaped(value)) }
        return [
            "e": escape,
            "escape": escape,
            "forceescape": Filters.reading("forceescape") { renderer, value, _ in
                .string(try renderer.escaped(.string(try value.printed().unmarked)))
            },
            "safe": Filters.reading("safe") { _, value, _ in
                var text = try value.printed()
                text.isMarkup = true
                return .string(text)
            },
            "striptags": Filters.reading("striptags") { renderer, value, _ in
                let text = try value.printed()
                try renderer.use(steps: text.count)
                return .string(withoutTags(text))
            },
            "urlize": Filters.reading("urlize", linked),
            "xmlattr": Filters.reading("xmlattr", attributes),
        ]
    }()

    private static func attributes(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws
        -> Value
    {
        let addsSpace = try arguments.next("autospace")?.isTrue ?? true
        guard case .dictionary(let dictionary) = value else {
            if case .undefined(let undefined) = value { throw undefined.error }
            throw TemplateError(.other, "'\(value.typeName)' object has no attribute 'items'")
        }
        var pairs: [TemplateString] = []
        for (key, value) in zip(dictionary.entries.keys, dictionary.entries.values) {
            switch value {
            case .none, .undefined: continue
            default: break
            }
            guard case .string(let name) = key else {
                throw TemplateError.type("expected string or bytes-like object, got '\(key.typeName)'")
            }
            let separators: Set<UInt32> = [0x20, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x2F, 0x3E, 0x3D]
            guard !name.codePoints.contains(where: separators.contains) else {
                throw TemplateError.value("Invalid character in attribute name: \(key.shortDescription)")
            }
            var pair = name.escaped
            pair.append("=\"")
            pair.append(try renderer.escaped(value))
            pair.append("\"")
            pairs.append(pair)
        }
        var text: TemplateString = addsSpace && !pairs.isEmpty ? " " : ""
        text.append(try StringMethods.joined(pairs, separator: " ", renderer))
        text.isMarkup = renderer.escapes
        return .string(text)
    }

    // MARK: Tags

    /// The text without comments and tags, white space drawn together, references resolved.
    private static func withoutTags(_ text: TemplateString) -> TemplateString {
        var rest = text.unmarked
        while let start = rest.firstIndex(of: "<!--", in: 0..<rest.count),
            let end = rest.firstIndex(of: "-->", in: start..<rest.count)
        {
            rest = rest.removing(start..<end + 3)
        }
        while let start = rest.firstIndex(of: "<", in: 0..<rest.count),
            let end = rest.firstIndex(of: ">", in: start..<rest.count)
        {
            rest = rest.removing(start..<end + 1)
        }
        return unescaped(TemplateString.joined(rest.words(), separator: " "))
    }

    private static let entities: [String: String] = [
        "lt": "<", "gt": ">", "amp": "&", "quot": "\"", "apos": "'", "nbsp": "\u{A0}", "copy": "\u{A9}",
        "reg": "\u{AE}", "hellip": "\u{2026}", "mdash": "\u{2014}", "ndash": "\u{2013}", "lsquo": "\u{2018}",
        "rsquo": "\u{2019}", "ldquo": "\u{201C}", "rdquo": "\u{201D}", "bull": "\u{2022}", "euro": "\u{20AC}",
        "trade": "\u{2122}", "times": "\u{D7}", "laquo": "\u{AB}", "raquo": "\u{BB}",
    ]

    /// With HTML's commonest references resolved.
    private static func unescaped(_ text: TemplateString) -> TemplateString {
        var result = TemplateString()
        var position = 0
        while position < text.count {
            let window = position..<min(text.count, position + 12)
            if text.codePoints[position] == 0x26, let end = text.firstIndex(of: ";", in: window),
                let replacement = reference(text[position + 1..<end].text)
            {
                result.append(replacement, origin: text.origin(at: position))
                position = end + 1
            } else {
                result.append(text, range: position..<position + 1)
                position += 1
            }
        }
        return result
    }

    private static func reference(_ name: String) -> String? {
        guard name.hasPrefix("#") else { return entities[name] }
        let digits = name.dropFirst()
        let code = digits.lowercased().hasPrefix("x") ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits)
        return code.map { Unicode.Scalar($0).map { String(Character($0)) } ?? "\u{FFFD}" }
    }

    // MARK: Links

    private static func linked(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        var linker = Linker()
        linker.trimLimit = try arguments.next("trim_url_limit").flatMap(\.index)
        var relations: Set<String> = ["noopener"]
        if try arguments.flag("nofollow") { relations.insert("nofollow") }
        linker.target = try arguments.text("target")?.escaped
        if let more = try arguments.text("rel") { relations.formUnion(more.words().map(\.text)) }
        linker.relation = TemplateString(relations.sorted().joined(separator: " ")).escaped
        let schemes = try arguments.next("extra_schemes")
        if case Value.none? = schemes {
        } else if let schemes {
            linker.schemes = try renderer.elements(of: schemes).map { try $0.printed() }
            for scheme in linker.schemes where scheme.text.wholeMatch(of: /[A-Za-z]{2,}[:\/]+/) == nil {
                throw TemplateError(.argument, "'\(scheme.text)' is not a valid URI scheme prefix")
            }
        }
        let text = try renderer.escaped(value).unmarked
        try renderer.use(steps: text.count * 4)
        var result = linker.link(text)
        try renderer.checkLength(result.count)
        result.isMarkup = renderer.escapes
        return .string(result)
    }
}

/// Makes links of what looks like one in a text that is HTML.
private struct Linker {
    var trimLimit: Int?
    var relation: TemplateString = ""
    var target: TemplateString?
    var schemes: [TemplateString] = []

    func link(_ text: TemplateString) -> TemplateString {
        var result = TemplateString()
        var position = 0
        while position < text.count {
            let isSpace = CodePoint.isSpace(text.codePoints[position])
            let start = position
            while position < text.count, CodePoint.isSpace(text.codePoints[position]) == isSpace { position += 1 }
            if isSpace {
                result.append(text, range: start..<position)
            } else {
                result.append(linkWord(text[start..<position]))
            }
        }
        return result
    }

    private func linkWord(_ word: TemplateString) -> TemplateString {
        var start = 0
        let openings: [TemplateString] = ["(", "<", "&lt;"]
        while let opening = openings.first(where: { word[start..<word.count].hasPrefix($0) }) {
            start += opening.count
        }
        var end = word.count
        let closings: [TemplateString] = [")", ">", ".", ",", "&gt;"]
        while let closing = closings.first(where: { end - start >= $0.count && word[start..<end].hasSuffix($0) }) {
            end -= closing.count
        }
        // A bracket that was opened inside is closed inside.
        let pairs: [(TemplateString, TemplateString)] = [("(", ")"), ("<", ">"), ("&lt;", "&gt;")]
        for (opening, closing) in pairs {
            let middle = word[start..<end]
            let opened = middle.ranges(of: opening).count
            guard opened > middle.ranges(of: closing).count else { continue }
            for _ in 0..<min(opened, word[end..<word.count].ranges(of: closing).count) {
                if let found = word.firstIndex(of: closing, in: end..<word.count) { end = found + closing.count }
            }
        }
        var result = word[0..<start]
        result.append(linkMiddle(word[start..<end]))
        result.append(word, range: end..<word.count)
        return result
    }

    private func linkMiddle(_ middle: TemplateString) -> TemplateString {
        let text = middle.text
        if text.prefixMatch(of: Self.address) != nil {
            return anchor(text.hasPrefix("http") ? "" : "https://", middle, shown: trimmed(middle), hasRelation: true)
        }
        if text.hasPrefix("mailto:"), Self.isMail(text.dropFirst(7)) {
            return anchor("", middle, shown: middle[7..<middle.count], hasRelation: false)
        }
        if text.contains("@"), !text.hasPrefix("www."), !text.hasPrefix("@"), !text.contains(":"),
            Self.isMail(text[...])
        {
            return anchor("mailto:", middle, shown: middle, hasRelation: false)
        }
        for scheme in schemes where middle != scheme && middle.hasPrefix(scheme) {
            return anchor("", middle, shown: middle, hasRelation: true)
        }
        return middle
    }

    private func trimmed(_ text: TemplateString) -> TemplateString {
        guard let trimLimit, text.count > trimLimit else { return text }
        var result = text[0..<max(0, trimLimit)]
        result.append("...")
        return result
    }

    private func anchor(
        _ scheme: TemplateString, _ address: TemplateString, shown: TemplateString, hasRelation: Bool
    ) -> TemplateString {
        var pieces: [TemplateString] = ["<a href=\"", scheme, address, "\""]
        if hasRelation {
            if !relation.isEmpty { pieces += [" rel=\"", relation, "\""] }
            if let target { pieces += [" target=\"", target, "\""] }
        }
        return TemplateString.joined(pieces + [">", shown, "</a>"], separator: "")
    }

    /// `http://…` or `www.…` with a domain, or a domain of one of the oldest ends.
    private static var address: Regex<Substring> {
        /(?:(?:https?:\/\/|www\.)(?:[\w%-]+\.)*[\w%-]+\.?(?:\w{2,}|\d+)|https?:\/\/(?:localhost|\[[\da-f:.]+\])|(?:[\w%-]{2,}\.)+(?:com|net|int|edu|gov|org|info|mil)\b)(?::\d{1,5})?(?:[\/?#]\S*)?$/
            .ignoresCase()
    }

    private static func isMail(_ text: Substring) -> Bool { text.wholeMatch(of: /\S+@\w[\w.-]*\.\w+/) != nil }
}

extension TemplateString {
    fileprivate func removing(_ range: Range<Int>) -> TemplateString {
        var text = self[0..<range.lowerBound]
        text.append(self, range: range.upperBound..<count)
        return text
    }
}
