/// The methods of strings. What they give keeps the origins of what it is made of.
enum StringMethods {
    static let all: [String: Method<TemplateString>] = cases.merging(searching) { first, _ in first }
        .merging(trimming) { first, _ in first }.merging(splitting) { first, _ in first }
        .merging(padding) { first, _ in first }.merging(asking) { first, _ in first }
        .merging(translating) { first, _ in first }

    /// A method without arguments.
    private static func plain(_ body: @escaping @Sendable (TemplateString) throws -> Value) -> Method<TemplateString> {
        { text, _, renderer in
            try renderer.use(steps: text.count >> 3)
            return try body(text)
        }
    }

    // MARK: Case

    private static let cases: [String: Method<TemplateString>] = [
        "capitalize": plain { .string($0.capitalized) },
        "casefold": plain { .string($0.lowercased.replacingSharpS) },
        "lower": plain { .string($0.lowercased) },
        "swapcase": plain { .string($0.caseSwapped) },
        "title": plain { .string($0.titlecased) },
        "upper": plain { .string($0.uppercased) },
    ]

    // MARK: Searching

    private static let searching: [String: Method<TemplateString>] = [
        "count": { text, arguments, renderer in
            let (part, range) = try partAndRange(text, &arguments, "count")
            try renderer.use(steps: range.count >> 2)
            return .integer(text[range].ranges(of: part).count)
        },
        "find": { text, arguments, _ in
            let (part, range) = try partAndRange(text, &arguments, "find")
            return .integer(isReachable(range, in: text, part) ? text.firstIndex(of: part, in: range) ?? -1 : -1)
        },
        "rfind": { text, arguments, _ in
            let (part, range) = try partAndRange(text, &arguments, "rfind")
            return .integer(isReachable(range, in: text, part) ? text.lastIndex(of: part, in: range) ?? -1 : -1)
        },
        "index": { text, arguments, _ in
            let (part, range) = try partAndRange(text, &arguments, "index")
            guard let index = text.firstIndex(of: part, in: range) else { throw notFound }
            return .integer(index)
        },
        "rindex": { text, arguments, _ in
            let (part, range) = try partAndRange(text, &arguments, "rindex")
            guard let index = text.lastIndex(of: part, in: range) else { throw notFound }
            return .integer(index)
        },
        "startswith": { text, arguments, _ in
            try matches(text, &arguments, "startswith") { $0.hasPrefix($1) }
        },
        "endswith": { text, arguments, _ in try matches(text, &arguments, "endswith") { $0.hasSuffix($1) } },
        "replace": { text, arguments, renderer in
            let old = try part(&arguments, "replace")
            let new = try part(&arguments, "replace")
            let count = try arguments.nextPositional().map(index) ?? -1
            return .string(try replaced(text, old, with: new, count: count, renderer))
        },
        "removeprefix": { text, arguments, _ in
            let prefix = try part(&arguments, "removeprefix")
            return .string(text.hasPrefix(prefix) ? text[prefix.count..<text.count] : text)
        },
        "removesuffix": { text, arguments, _ in
            let suffix = try part(&arguments, "removesuffix")
            return .string(text.hasSuffix(suffix) ? text[0..<text.count - suffix.count] : text)
        },
    ]

    private static let notFound = TemplateError.value("substring not found")

    /// The next argument, which is a string.
    private static func part(_ arguments: inout ArgumentReader, _ function: String) throws -> TemplateString {
        switch try arguments.requiredPositional() {
        case .string(let text): return text
        case let other: throw TemplateError.type("\(function)() argument must be str, not \(other.typeName)")
        }
    }

    static func index(_ value: Value) throws -> Int {
        guard let index = value.index else {
            throw TemplateError.type("'\(value.typeName)' object cannot be interpreted as an integer")
        }
        return index
    }

    private static func partAndRange(
        _ text: TemplateString, _ arguments: inout ArgumentReader, _ function: String
    ) throws -> (TemplateString, Range<Int>) {
        let part = try part(&arguments, function)
        return (part, try ContainerMethods.range(of: text.count, &arguments))
    }

    /// The empty string is found anywhere but behind the end.
    private static func isReachable(_ range: Range<Int>, in text: TemplateString, _ part: TemplateString) -> Bool {
        !part.isEmpty || range.lowerBound <= text.count
    }

    private static func matches(
        _ text: TemplateString, _ arguments: inout ArgumentReader, _ function: String,
        _ test: (TemplateString, TemplateString) -> Bool
    ) throws -> Value {
        let argument = try arguments.requiredPositional()
        let range = try ContainerMethods.range(of: text.count, &arguments)
        let options: [Value]
        if case .tuple(let tuple) = argument { options = tuple.elements } else { options = [argument] }
        for option in options {
            guard case .string(let option) = option else {
                throw TemplateError.type(
                    "\(function) first arg must be str or a tuple of str, not \(option.typeName)")
            }
            if test(text[range], option) { return .boolean(true) }
        }
        return .boolean(false)
    }

    static func replaced(
        _ text: TemplateString, _ old: TemplateString, with new: TemplateString, count: Int, _ renderer: Renderer
    ) throws -> TemplateString {
        try renderer.use(steps: text.count >> 3)
        let ranges = text.ranges(of: old, limit: count < 0 ? .max : count)
        let (growth, overflows) = ranges.count.multipliedReportingOverflow(by: new.count)
        try renderer.checkLength(overflows ? .max : text.count + growth)
        var result = TemplateString()
        result.isMarkup = text.isMarkup
        var end = 0
        for range in ranges {
            result.append(text, range: end..<range.lowerBound)
            result.append(new)
            end = range.upperBound
        }
        result.append(text, range: end..<text.count)
        return result
    }

    // MARK: Trimming

    private static let trimming: [String: Method<TemplateString>] = [
        "strip": { text, arguments, _ in .string(try trimmed(text, arguments.nextPositional())) },
        "lstrip": { text, arguments, _ in .string(try trimmed(text, arguments.nextPositional(), right: false)) },
        "rstrip": { text, arguments, _ in .string(try trimmed(text, arguments.nextPositional(), left: false)) },
    ]

    static func trimmed(
        _ text: TemplateString, _ characters: Value?, left: Bool = true, right: Bool = true
    ) throws -> TemplateString {
        switch characters {
        case nil, Value.none?: return text[text.trimmedRange(left: left, right: right, CodePoint.isSpace)]
        case .string(let characters)?:
            let set = Set(characters.codePoints)
            return text[text.trimmedRange(left: left, right: right, set.contains)]
        case let other?: throw TemplateError.type("strip arg must be None or str, not \(other.typeName)")
        }
    }

    // MARK: Splitting and joining

    private static let splitting: [String: Method<TemplateString>] = [
        "split": { text, arguments, renderer in try split(text, &arguments, renderer) },
        "rsplit": { text, arguments, renderer in try split(text, &arguments, renderer, fromEnd: true) },
        "splitlines": { text, arguments, renderer in
            let keepsEnds = try arguments.flag("keepends")
            let lines = text.lines(keepingEnds: keepsEnds)
            try renderer.checkCount(lines.count)
            return .list(lines)
        },
        "partition": { text, arguments, _ in
            let separator = try separator(&arguments, "partition")
            guard let found = text.firstIndex(of: separator, in: 0..<text.count) else {
                return .tuple([text, text[0..<0], text[0..<0]])
            }
            return .tuple([
                text[0..<found], text[found..<found + separator.count], text[found + separator.count..<text.count],
            ])
        },
        "rpartition": { text, arguments, _ in
            let separator = try separator(&arguments, "rpartition")
            guard let found = text.lastIndex(of: separator, in: 0..<text.count) else {
                return .tuple([text[0..<0], text[0..<0], text])
            }
            return .tuple([
                text[0..<found], text[found..<found + separator.count], text[found + separator.count..<text.count],
            ])
        },
        "join": { text, arguments, renderer in
            let elements = try renderer.elements(of: try arguments.requiredPositional())
            let strings = try elements.enumerated().map { index, element in
                if text.isMarkup { return try renderer.escaped(element) }
                if case .string(let string) = element { return string }
                throw TemplateError.type("sequence item \(index): expected str instance, \(element.typeName) found")
            }
            return .string(try joined(strings, separator: text, renderer))
        },
    ]

    private static func separator(_ arguments: inout ArgumentReader, _ function: String) throws -> TemplateString {
        let separator = try part(&arguments, function)
        guard !separator.isEmpty else { throw TemplateError.value("empty separator") }
        return separator
    }

    private static func split(
        _ text: TemplateString, _ arguments: inout ArgumentReader, _ renderer: Renderer, fromEnd: Bool = false
    ) throws -> Value {
        let separator = try arguments.text("sep")
        let limit = try arguments.integer("maxsplit") ?? -1
        let count = limit < 0 ? Int.max : limit
        try renderer.use(steps: text.count >> 3)
        if separator?.isEmpty == true { throw TemplateError.value("empty separator") }
        let pieces =
            switch (separator, fromEnd) {
            case (let separator?, false): text.split(at: text.ranges(of: separator, limit: count))
            case (let separator?, true): text.split(at: text.rangesFromEnd(of: separator, limit: count))
            case (nil, false): text.words(limit: count)
            case (nil, true): text.wordsFromEnd(limit: count)
            }
        try renderer.checkCount(pieces.count)
        return .list(pieces)
    }

    static func joined(
        _ strings: [TemplateString], separator: TemplateString, _ renderer: Renderer
    ) throws -> TemplateString {
        let (separators, overflows) = separator.count.multipliedReportingOverflow(by: max(0, strings.count - 1))
        try renderer.checkLength(overflows ? .max : strings.reduce(separators) { $0 + $1.count })
        var text = TemplateString.joined(strings, separator: separator)
        text.isMarkup = separator.isMarkup
        return text
    }

    // MARK: Padding

    private static let padding: [String: Method<TemplateString>] = [
        "center": { text, arguments, renderer in
            try padded(text, &arguments, renderer) { missing, width in missing / 2 + (missing & width & 1) }
        },
        "ljust": { text, arguments, renderer in try padded(text, &arguments, renderer) { _, _ in 0 } },
        "rjust": { text, arguments, renderer in try padded(text, &arguments, renderer) { missing, _ in missing } },
        "zfill": { text, arguments, renderer in
            let width = try index(try arguments.requiredPositional())
            try renderer.checkLength(max(0, width))
            let hasSign = text.codePoints.first == 0x2B || text.codePoints.first == 0x2D
            var result = text[0..<(hasSign ? 1 : 0)]
            result.append(String(repeating: "0", count: max(0, width - text.count)), origin: .template)
            result.append(text, range: (hasSign ? 1 : 0)..<text.count)
            return .string(result)
        },
        "expandtabs": { text, arguments, renderer in
            let size = try arguments.integer("tabsize") ?? 8
            return .string(try expandedTabs(text, size: size, renderer))
        },
    ]

    private static func padded(
        _ text: TemplateString, _ arguments: inout ArgumentReader, _ renderer: Renderer,
        left: (_ missing: Int, _ width: Int) -> Int
    ) throws -> Value {
        let width = try index(try arguments.requiredPositional())
        var fill: TemplateString = " "
        if let argument = arguments.nextPositional() {
            guard case .string(let text) = argument, text.count == 1 else {
                throw TemplateError.type("the fill character must be exactly one character long")
            }
            fill = text
        }
        guard width > text.count else { return .string(text) }
        try renderer.checkLength(width)
        let missing = width - text.count
        let leftCount = left(missing, width)
        var result = TemplateString()
        for _ in 0..<leftCount { result.append(fill) }
        result.append(text)
        for _ in 0..<missing - leftCount { result.append(fill) }
        result.isMarkup = text.isMarkup
        return .string(result)
    }

    static func centered(_ text: TemplateString, width: Int, _ renderer: Renderer) throws -> Value {
        var reader = ArgumentReader(Arguments(positional: [.integer(width)]), of: "center")
        return try padded(text, &reader, renderer) { missing, width in missing / 2 + (missing & width & 1) }
    }

    private static func expandedTabs(_ text: TemplateString, size: Int, _ renderer: Renderer) throws -> TemplateString {
        var column = 0
        var result = TemplateString()
        try text.forEachCodePoint { _, codePoint, origin in
            switch codePoint {
            case 0x09:
                let count = size > 0 ? size - column % size : 0
                try renderer.checkLength(result.count + count)
                result.append(String(repeating: " ", count: count), origin: origin)
                column += count
            case 0x0A, 0x0D:
                result.append(codePoint, origin: origin)
                column = 0
            default:
                result.append(codePoint, origin: origin)
                column += 1
            }
        }
        return result
    }

    // MARK: Questions

    private static func all(_ test: @escaping @Sendable (UInt32) -> Bool) -> Method<TemplateString> {
        plain { .boolean(!$0.isEmpty && $0.codePoints.allSatisfy(test)) }
    }

    private static let asking: [String: Method<TemplateString>] = [
        "isalnum": all(CodePoint.isAlphanumeric),
        "isalpha": all(CodePoint.isAlphabetic),
        "isascii": plain { .boolean($0.codePoints.allSatisfy { $0 < 0x80 }) },
        "isdecimal": all(CodePoint.isDecimal),
        "isdigit": all(CodePoint.isDigit),
        "isidentifier": plain { text in
            .boolean(
                text.codePoints.first.map(CodePoint.isIdentifierStart) == true
                    && text.codePoints.allSatisfy(CodePoint.isIdentifierPart))
        },
        "islower": plain { .boolean($0.isLowercase) },
        "isnumeric": all(CodePoint.isNumeric),
        "isprintable": plain { .boolean($0.codePoints.allSatisfy(CodePoint.isPrintable)) },
        "isspace": all(CodePoint.isSpace),
        "istitle": plain { .boolean($0.isTitlecase) },
        "isupper": plain { .boolean($0.isUppercase) },
    ]

    // MARK: Translating and formatting

    private static let translating: [String: Method<TemplateString>] = [
        "encode": { text, arguments, _ in
            let encoding = try arguments.text("encoding")?.text.lowercased() ?? "utf-8"
            _ = try arguments.text("errors")
            guard ["utf-8", "utf8", "ascii"].contains(encoding) else {
                throw TemplateError(.other, "unknown encoding: \(encoding); expected utf-8")
            }
            return .bytes(Array(text.text.utf8))
        },
        "format": { text, arguments, renderer in
            .string(try FormatString.format(text, arguments.takeRest(), renderer))
        },
        "format_map": { text, arguments, renderer in
            let mapping = try arguments.requiredPositional()
            return .string(try FormatString.format(text, mapping: mapping, renderer))
        },
        "maketrans": { _, arguments, _ in try makeTranslation(&arguments) },
        "translate": { text, arguments, renderer in
            let table = try arguments.requiredPositional()
            return .string(try translated(text, by: table, renderer))
        },
    ]

    private static func makeTranslation(_ arguments: inout ArgumentReader) throws -> Value {
        var entries = Entries()
        let first = try arguments.requiredPositional()
        if case .dictionary(let dictionary) = first {
            for (key, value) in zip(dictionary.entries.keys, dictionary.entries.values) {
                if case .string(let text) = key, text.count == 1 {
                    entries[.integer(Int(text.codePoints[0]))] = value
                } else {
                    entries[key] = value
                }
            }
            return try .dictionary(entries)
        }
        guard case .string(let from) = first, case .string(let to)? = arguments.nextPositional(), from.count == to.count
        else { throw TemplateError.value("maketrans needs a dictionary, or two strings of equal lengths") }
        for (key, value) in zip(from.codePoints, to.codePoints) {
            entries[.integer(Int(key))] = .integer(Int(value))
        }
        if case .string(let removed)? = arguments.nextPositional() {
            for key in removed.codePoints { entries[.integer(Int(key))] = Value.none }
        }
        return try .dictionary(entries)
    }

    private static func translated(
        _ text: TemplateString, by table: Value, _ renderer: Renderer
    ) throws -> TemplateString {
        var result = TemplateString()
        try text.forEachCodePoint { _, codePoint, origin in
            try renderer.use()
            switch try renderer.item(.integer(Int(codePoint)), of: table) {
            case .undefined: result.append(codePoint, origin: origin)
            case .none: break
            case .integer(let code):
                guard let code = UInt32(exactly: code), code <= 0x10FFFF else {
                    throw TemplateError.value("character mapping must be in range(0x110000)")
                }
                result.append(code, origin: origin)
            case .string(let replacement):
                try renderer.checkLength(result.count + replacement.count)
                result.append(replacement)
            default: throw TemplateError.type("character mapping must return integer, None or str")
            }
        }
        return result
    }
}

extension TemplateString {
    /// What `casefold` adds to lower case that texts have any use for.
    fileprivate var replacingSharpS: TemplateString {
        mapped { _, codePoint in codePoint == 0xDF ? [0x73, 0x73] : codePoint == 0x3C2 ? [0x3C3] : [codePoint] }
    }

    var isLowercase: Bool {
        codePoints.contains(where: CodePoint.isLowercase)
            && !codePoints.contains { CodePoint.isUppercase($0) || CodePoint.isTitlecase($0) }
    }

    var isUppercase: Bool {
        codePoints.contains(where: CodePoint.isUppercase)
            && !codePoints.contains { CodePoint.isLowercase($0) || CodePoint.isTitlecase($0) }
    }

    fileprivate var isTitlecase: Bool {
        var followsCased = false
        var hasCased = false
        for codePoint in codePoints {
            if CodePoint.isUppercase(codePoint) || CodePoint.isTitlecase(codePoint) {
                if followsCased { return false }
                followsCased = true
            } else if CodePoint.isLowercase(codePoint) {
                if !followsCased { return false }
            } else {
                followsCased = false
                continue
            }
            hasCased = true
        }
        return hasCased
    }

    /// The pieces between ranges.
    func split(at ranges: [Range<Int>]) -> [TemplateString] {
        var pieces: [TemplateString] = []
        var start = 0
        for range in ranges {
            pieces.append(self[start..<range.lowerBound])
            start = range.upperBound
        }
        return pieces + [self[start..<count]]
    }

    fileprivate func rangesFromEnd(of separator: TemplateString, limit: Int) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var end = count
        while ranges.count < limit, let found = lastIndex(of: separator, in: 0..<end) {
            ranges.append(found..<found + separator.count)
            end = found
        }
        return ranges.reversed()
    }

    /// The words between white space; with a limit, the last is all the rest.
    func words(limit: Int = .max) -> [TemplateString] {
        var words: [TemplateString] = []
        var position = 0
        while true {
            while position < count, CodePoint.isSpace(codePoints[position]) { position += 1 }
            guard position < count else { return words }
            let start = position
            guard words.count < limit else {
                return words + [self[start..<trimmedRange(left: false, CodePoint.isSpace).upperBound]]
            }
            while position < count, !CodePoint.isSpace(codePoints[position]) { position += 1 }
            words.append(self[start..<position])
        }
    }

    fileprivate func wordsFromEnd(limit: Int) -> [TemplateString] {
        var words: [TemplateString] = []
        var position = count
        while true {
            while position > 0, CodePoint.isSpace(codePoints[position - 1]) { position -= 1 }
            guard position > 0 else { break }
            let end = position
            guard words.count < limit else {
                words.append(self[trimmedRange(right: false, CodePoint.isSpace).lowerBound..<end])
                break
            }
            while position > 0, !CodePoint.isSpace(codePoints[position - 1]) { position -= 1 }
            words.append(self[position..<end])
        }
        return words.reversed()
    }

    /// The lines as `str.splitlines` has them.
    func lines(keepingEnds: Bool = false) -> [TemplateString] {
        var lines: [TemplateString] = []
        var start = 0
        var position = 0
        while position < count {
            guard CodePoint.isLineEnd(codePoints[position]) else {
                position += 1
                continue
            }
            let end = position
            position += codePoints[end] == 0x0D && end + 1 < count && codePoints[end + 1] == 0x0A ? 2 : 1
            lines.append(self[start..<(keepingEnds ? position : end)])
            start = position
        }
        if start < count { lines.append(self[start..<count]) }
        return lines
    }
}
