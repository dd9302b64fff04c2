/// The filters of texts that are no HTML.
enum TextFilters {
    static let all: [String: Filter] = [
        "capitalize": plain("capitalize", \.capitalized),
        "center": Filters.reading("center") { renderer, value, arguments in
            let width = try arguments.integer("width") ?? 80
            return try StringMethods.centered(try value.printed(), width: width, renderer)
        },
        "format": format,
        "indent": Filters.reading("indent", indent),
        "lower": plain("lower", \.lowercased),
        "replace": Filters.reading("replace", replace),
        "title": Filters.reading("title") { _, value, _ in .string(title(try value.printed())) },
        "trim": Filters.reading("trim") { renderer, value, arguments in
            .string(try StringMethods.trimmed(try value.printed(), try arguments.next("chars")))
        },
        "truncate": Filters.reading("truncate", truncate),
        "upper": plain("upper", \.uppercased),
        "urlencode": Filters.reading("urlencode", urlEncode),
        "wordcount": Filters.reading("wordcount") { _, value, _ in
            .integer(words(in: try value.printed().codePoints))
        },
        "wordwrap": Filters.reading("wordwrap", wrap),
    ]

    private static func plain(_ name: String, _ transform: @escaping @Sendable (TemplateString) -> TemplateString)
        -> Filter
    {
        Filters.reading(name) { renderer, value, _ in
            let text = try value.printed()
            try renderer.use(steps: text.count >> 2)
            return .string(transform(text))
        }
    }

    /// A text that is not made of another value. Python notices the others where they lack a method of strings.
    private static func text(
        _ value: Value, of function: String, lacksMethod: (Value) -> Bool = { _ in false }
    ) throws -> TemplateString {
        switch value {
        case .string(let text): return text
        case .undefined(let undefined): throw undefined.error
        case _ where lacksMethod(value):
            throw TemplateError(.other, "'\(value.typeName)' object has no attribute 'splitlines'")
        default: throw TemplateError.type("\(function)() needs a string, not \(value.typeName)")
        }
    }

    /// The beginning of each word in upper case, the rest in lower case. Words begin behind white space, hyphens and
    /// opening brackets.
    private static func title(_ text: TemplateString) -> TemplateString {
        func separates(_ codePoint: UInt32) -> Bool {
            CodePoint.isSpace(codePoint) || [0x2D, 0x28, 0x7B, 0x5B, 0x3C].contains(codePoint)
        }
        var result = TemplateString()
        var position = 0
        while position < text.count {
            let start = position
            let isSeparator = separates(text.codePoints[position])
            while position < text.count, separates(text.codePoints[position]) == isSeparator { position += 1 }
            result.append(isSeparator ? text[start..<position] : text.character(at: start).uppercased)
            if !isSeparator { result.append(text[start + 1..<position].lowercased) }
        }
        result.isMarkup = text.isMarkup
        return result
    }

    private static func format(_ renderer: Renderer, _ value: Value, _ arguments: Arguments) throws -> Value {
        guard arguments.keywords.isEmpty || arguments.positional.isEmpty else {
            throw TemplateError(.argument, "can't handle positional and keyword arguments at the same time")
        }
        var values = try Value.tuple(arguments.positional)
        if !arguments.keywords.isEmpty {
            var entries = Entries()
            for keyword in arguments.keywords { entries[.string(keyword.name)] = keyword.value }
            values = try .dictionary(entries)
        }
        return .string(try PercentFormat.format(try value.printed(), values, renderer))
    }

    private static func indent(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let text = try text(value, of: "indent") { if case .list = $0 { true } else { false } }
        var indentation: TemplateString
        switch try arguments.next("width") {
        case nil: indentation = "    "
        case .string(let text)?: indentation = text
        case let width?:
            let count = try StringMethods.index(width)
            try renderer.checkLength(max(0, count))
            indentation = TemplateString(String(repeating: " ", count: max(0, count)))
        }
        let indentsFirst = try arguments.flag("first")
        let indentsBlank = try arguments.flag("blank")
        // A line end is added, so that there is a line in any case.
        var ended = text
        ended.append("\n")
        let lines = ended.lines()
        try renderer.checkLength(text.count + lines.count * indentation.count)
        var result = TemplateString()
        for (index, line) in lines.enumerated() {
            if index > 0 { result.append("\n") }
            if index == 0 ? indentsFirst : indentsBlank || !line.isEmpty { result.append(indentation) }
            result.append(line)
        }
        result.isMarkup = text.isMarkup
        return .string(result)
    }

    private static func replace(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        var text = try value.printed()
        var old = try arguments.required("old").printed()
        var new = try arguments.required("new").printed()
        let count: Int
        switch try arguments.next("count") {
        case nil, Value.none?: count = -1
        case let value?: count = try StringMethods.index(value)
        }
        if renderer.escapes {
            if old.isMarkup || new.isMarkup && !text.isMarkup { text = text.escaped }
            if text.isMarkup { (old, new) = (old.escaped, new.escaped) }
        } else {
            text.isMarkup = false
        }
        return .string(try StringMethods.replaced(text, old, with: new, count: count, renderer))
    }

    private static func truncate(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws
        -> Value
    {
        let length = try arguments.integer("length") ?? 255
        let cutsWords = try arguments.flag("killwords")
        let end = try arguments.text("end") ?? "..."
        let leeway = try arguments.next("leeway").map(StringMethods.index) ?? 5
        guard length >= end.count else {
            throw TemplateError(.other, "expected length >= \(end.count), got \(length)")
        }
        guard leeway >= 0 else { throw TemplateError(.other, "expected leeway >= 0, got \(leeway)") }
        let (limit, overflows) = length.addingReportingOverflow(leeway)
        if try value.length() <= (overflows ? .max : limit) { return value }
        let text = try text(value, of: "truncate") { value in
            guard case .list = value else { return false }
            return !cutsWords
        }
        var result = text[0..<length - end.count]
        if !cutsWords, let space = result.lastIndex(of: " ", in: 0..<result.count) { result = result[0..<space] }
        result.append(end)
        return .string(result)
    }

    private static func words(in text: [UInt32]) -> Int {
        var count = 0
        var isInWord = false
        for codePoint in text {
            let isWord = CodePoint.isWord(codePoint)
            if isWord, !isInWord { count += 1 }
            isInWord = isWord
        }
        return count
    }

    // MARK: URLs

    private static func urlEncode(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws
        -> Value
    {
        switch value {
        case .string(let text): return .string(quoted(text, keepsSlash: true))
        case .dictionary(let dictionary):
            return try query(zip(dictionary.entries.keys, dictionary.entries.values).map { [$0, $1] }, renderer)
        case _ where try Tests.all["iterable"]?(renderer, value, &arguments) == true:
            return try query(try renderer.elements(of: value).map { try renderer.elements(of: $0) }, renderer)
        default: return .string(quoted(try value.printed(), keepsSlash: true))
        }
    }

    private static func query(_ pairs: [[Value]], _ renderer: Renderer) throws -> Value {
        let texts = try pairs.map { pair in
            guard pair.count == 2 else { throw TemplateError.value("expected pairs of keys and values") }
            var text = quoted(try pair[0].printed(), keepsSlash: false)
            text.append("=")
            text.append(quoted(try pair[1].printed(), keepsSlash: false))
            return text
        }
        return .string(try StringMethods.joined(texts, separator: "&", renderer))
    }

    private static func quoted(_ text: TemplateString, keepsSlash: Bool) -> TemplateString {
        text.mapped { _, codePoint in
            if codePoint < 0x80, CodePoint.isWord(codePoint) || [0x2D, 0x2E, 0x7E].contains(codePoint) {
                return [codePoint]
            }
            if codePoint == 0x2F, keepsSlash { return [codePoint] }
            if codePoint == 0x20, !keepsSlash { return [0x2B] }
            let character = TemplateString.text(of: [codePoint])
            return character.utf8.flatMap { byte in
                ("%" + hexadecimal(UInt32(byte), width: 2).uppercased()).unicodeScalars.map(\.value)
            }
        }
    }

    // MARK: Wrapping

    private static func wrap(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        let text = try text(value, of: "wordwrap") { _ in true }
        var wrapping = TextWrapping()
        wrapping.width = try arguments.integer("width") ?? 79
        wrapping.breaksLongWords = try arguments.next("break_long_words")?.isTrue ?? true
        let separator = try arguments.text("wrapstring") ?? "\n"
        wrapping.breaksOnHyphens = try arguments.next("break_on_hyphens")?.isTrue ?? true
        let lines = text.lines()
        guard wrapping.width > 0 || lines.isEmpty else {
            throw TemplateError.value("invalid width \(wrapping.width) (must be > 0)")
        }
        try renderer.use(steps: text.count)
        let wrapped = try lines.map { line in
            try StringMethods.joined(wrapping.lines(of: line), separator: separator, renderer)
        }
        return .string(try StringMethods.joined(wrapped, separator: separator, renderer))
    }
}

/// Python's `textwrap.wrap` of a single line.
struct TextWrapping {
    var width = 79
    var breaksLongWords = true
    var breaksOnHyphens = true

    func lines(of text: TemplateString) -> [TemplateString] {
        var chunks = Array(self.chunks(of: text).reversed())
        var lines: [TemplateString] = []
        while !chunks.isEmpty {
            var line: [Range<Int>] = []
            var length = 0
            if !lines.isEmpty, let first = chunks.last, isSpace(first, in: text) { chunks.removeLast() }
            while let chunk = chunks.last, length + chunk.count <= width {
                line.append(chunk)
                length += chunk.count
                chunks.removeLast()
            }
            if let chunk = chunks.last, chunk.count > width {
                if let cut = self.cut(chunk, in: text, room: width - length) {
                    line.append(chunk.lowerBound..<cut)
                    chunks[chunks.count - 1] = cut..<chunk.upperBound
                } else if line.isEmpty {
                    line.append(chunk)
                    chunks.removeLast()
                }
            }
            if let last = line.last, isSpace(last, in: text) { line.removeLast() }
            if let first = line.first, let last = line.last { lines.append(text[first.lowerBound..<last.upperBound]) }
        }
        return lines
    }

    private func isSpace(_ range: Range<Int>, in text: TemplateString) -> Bool {
        text.codePoints[range].allSatisfy(Self.isSpace)
    }

    /// Where a word that is longer than a line is cut; nil where it stays whole.
    private func cut(_ chunk: Range<Int>, in text: TemplateString, room: Int) -> Int? {
        guard breaksLongWords else { return nil }
        let room = width < 1 ? 1 : room
        guard room > 0 else { return nil }
        let end = chunk.lowerBound + room
        if breaksOnHyphens, let hyphen = text.codePoints[chunk.lowerBound..<end].lastIndex(of: 0x2D),
            hyphen > chunk.lowerBound, text.codePoints[chunk.lowerBound..<hyphen].contains(where: { $0 != 0x2D })
        {
            return hyphen + 1
        }
        return end
    }

    private static func isSpace(_ codePoint: UInt32) -> Bool { codePoint == 0x20 || 0x09...0x0D ~= codePoint }

    /// Words, parts of words up to a hyphen between letters, and the white space between words.
    private func chunks(of text: TemplateString) -> [Range<Int>] {
        var chunks: [Range<Int>] = []
        let codes = text.codePoints
        var start = 0
        var position = 0
        func isLetter(_ index: Int) -> Bool {
            codes.indices.contains(index) && CodePoint.isWord(codes[index]) && !CodePoint.isDecimal(codes[index])
        }
        while position < codes.count {
            let isSpace = Self.isSpace(codes[position])
            position += 1
            if position < codes.count, Self.isSpace(codes[position]) == isSpace {
                // A hyphen behind two letters, or a letter and a hyphen before it, and before two letters.
                let breaks =
                    breaksOnHyphens && !isSpace && codes[position - 1] == 0x2D && isLetter(position - 2)
                    && isLetter(position)
                    && (isLetter(position - 3) || position >= 4 && codes[position - 3] == 0x2D && isLetter(position - 4)
                        || isLetter(position + 1))
                    && (isLetter(position + 1)
                        || position + 1 < codes.count && codes[position + 1] == 0x2D && isLetter(position + 2))
                if !breaks { continue }
            }
            chunks.append(start..<position)
            start = position
        }
        return chunks
    }
}
