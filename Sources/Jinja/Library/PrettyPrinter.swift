/// Python's `pprint.pformat`: lines of at most 80 characters, dictionaries sorted by their keys.
struct PrettyPrinter {
    private static let width = 80
    private let renderer: Renderer

    init(_ renderer: Renderer) { self.renderer = renderer }

    func text(of value: Value) throws -> TemplateString {
        var text = TemplateString()
        try write(value, to: &text, indent: 0, allowance: 0)
        return text
    }

    private func write(_ value: Value, to text: inout TemplateString, indent: Int, allowance: Int) throws {
        try renderer.use(steps: 8)
        let line = try representation(of: value)
        try renderer.checkLength(text.count + line.count)
        guard line.count > Self.width - indent - allowance else { return text.append(line) }
        switch value {
        case .dictionary(let dictionary) where dictionary.entries.count > 0:
            text.append("{")
            let entries = try sorted(dictionary.entries)
            for (index, entry) in entries.enumerated() {
                if index > 0 { try breakLine(&text, indent: indent + 1) }
                let key = try representation(of: entry.key)
                text.append(key)
                text.append(": ")
                let isLast = index == entries.count - 1
                try write(
                    entry.value, to: &text, indent: indent + 1 + key.count + 2, allowance: isLast ? allowance + 1 : 1)
                text.append(isLast ? "}" : ",")
            }
        case .list(let list) where !list.elements.isEmpty:
            text.append("[")
            try write(list.elements, to: &text, indent: indent + 1, allowance: allowance + 1)
            text.append("]")
        case .tuple(let tuple) where !tuple.elements.isEmpty:
            let closing: TemplateString = tuple.elements.count == 1 ? ",)" : ")"
            text.append("(")
            try write(tuple.elements, to: &text, indent: indent + 1, allowance: allowance + closing.count)
            text.append(closing)
        case .string(let string) where !string.isMarkup:
            try write(string, to: &text, indent: indent, allowance: allowance)
        default: text.append(line)
        }
    }

    private func write(_ elements: [Value], to text: inout TemplateString, indent: Int, allowance: Int) throws {
        for (index, element) in elements.enumerated() {
            if index > 0 {
                text.append(",")
                try breakLine(&text, indent: indent)
            }
            try write(element, to: &text, indent: indent, allowance: index == elements.count - 1 ? allowance : 1)
        }
    }

    private func breakLine(_ text: inout TemplateString, indent: Int) throws {
        try renderer.checkLength(text.count + indent)
        text.append("\n" + String(repeating: " ", count: indent), origin: .template)
    }

    /// On one line, dictionaries sorted.
    private func representation(of value: Value) throws -> TemplateString {
        try renderer.use()
        switch value {
        case .dictionary(let dictionary):
            let pairs = try sorted(dictionary.entries).map { entry in
                var pair = try representation(of: entry.key)
                pair.append(": ")
                pair.append(try representation(of: entry.value))
                return pair
            }
            return Value.enclosed("{", pairs, "}")
        case .list(let list): return Value.enclosed("[", try list.elements.map(representation), "]")
        case .tuple(let tuple):
            let elements = try tuple.elements.map(representation)
            return Value.enclosed("(", elements, elements.count == 1 ? ",)" : ")")
        default: return try value.representation(depth: 0)
        }
    }

    /// Sorted by the keys; those that have no order, by the names of their types.
    private func sorted(_ entries: Entries) throws -> [(key: Value, value: Value)] {
        try renderer.use(steps: entries.count * 4)
        return zip(entries.keys, entries.values).map { (key: $0, value: $1) }.sorted { left, right in
            (try? left.key.precedes(right.key)) ?? (left.key.typeName < right.key.typeName)
        }
    }

    /// A long text: a piece for each line, broken between words, each in quotes of its own.
    private func write(_ string: TemplateString, to text: inout TemplateString, indent: Int, allowance: Int) throws {
        let isTop = indent == 0
        let inner = isTop ? 1 : indent
        var pieces: [TemplateString] = []
        let lines = string.lines(keepingEnds: true)
        for (index, line) in lines.enumerated() {
            let room = Self.width - inner - (index == lines.count - 1 ? allowance + (isTop ? 1 : 0) : 0)
            if line.representation.count <= room {
                pieces.append(line.representation)
                continue
            }
            var current = TemplateString()
            let words = line.wordsWithSpaces()
            for (position, word) in words.enumerated() {
                try renderer.use(steps: 1 + current.count >> 3)
                var candidate = current
                candidate.append(word)
                let isEnd = position == words.count - 1 && index == lines.count - 1
                let width = Self.width - inner - (isEnd ? allowance + (isTop ? 1 : 0) : 0)
                if candidate.representation.count > width {
                    if !current.isEmpty { pieces.append(current.representation) }
                    current = word
                } else {
                    current = candidate
                }
            }
            if !current.isEmpty { pieces.append(current.representation) }
        }
        if pieces.count <= 1 { return text.append(string.representation) }
        if isTop { text.append("(") }
        for (index, piece) in pieces.enumerated() {
            if index > 0 { try breakLine(&text, indent: inner) }
            text.append(piece)
        }
        if isTop { text.append(")") }
    }
}

extension TemplateString {
    /// Words, each with the white space behind it.
    fileprivate func wordsWithSpaces() -> [TemplateString] {
        var words: [TemplateString] = []
        var start = 0
        var position = 0
        while position < count {
            while position < count, !CodePoint.isSpace(codePoints[position]) { position += 1 }
            while position < count, CodePoint.isSpace(codePoints[position]) { position += 1 }
            words.append(self[start..<position])
            start = position
        }
        return words
    }
}
