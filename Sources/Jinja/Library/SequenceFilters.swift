/// The filters of lists and other sequences. Many give generators: what they do is done as their elements are asked for.
enum SequenceFilters {
    static let all: [String: Filter] = [
        "batch": Filters.reading("batch", batch),
        "dictsort": Filters.reading("dictsort", sortedDictionary),
        "first": Filters.reading("first") { renderer, value, _ in
            try renderer.iterator(over: value).next() ?? .undefined(.other("No first item, sequence was empty."))
        },
        "groupby": Filters.reading("groupby", grouped),
        "items": Filters.reading("items", items),
        "join": Filters.reading("join", joined),
        "last": Filters.reading("last", last),
        "list": Filters.reading("list") { renderer, value, _ in try renderer.list(try renderer.elements(of: value)) },
        "map": map,
        "max": Filters.reading("max") { try extremum($0, $1, &$2, isMaximum: true) },
        "min": Filters.reading("min") { try extremum($0, $1, &$2, isMaximum: false) },
        "random": Filters.reading("random", random),
        "reject": { try selected($0, $1, $2, byAttribute: false, keeps: false) },
        "rejectattr": { try selected($0, $1, $2, byAttribute: true, keeps: false) },
        "reverse": Filters.reading("reverse", reversed),
        "select": { try selected($0, $1, $2, byAttribute: false, keeps: true) },
        "selectattr": { try selected($0, $1, $2, byAttribute: true, keeps: true) },
        "slice": Filters.reading("slice", sliced),
        "sort": Filters.reading("sort", sorted),
        "sum": Filters.reading("sum", sum),
        "unique": Filters.reading("unique", unique),
    ]

    private static func generator(
        around values: [Value], _ make: @escaping () throws -> ValueIterator
    ) throws -> Value { .object(try Generator(around: values, make)) }

    // MARK: Attributes of elements

    /// Gets an attribute of an element: `name`, `a.b.0`, or a position.
    private struct AttributeGetter {
        let path: [Value]
        var standard: Value?
        var ignoresCase = false

        init(_ attribute: Value?) throws {
            switch attribute {
            case nil, Value.none?: path = []
            case .string(let text)?:
                path = text.split(at: text.ranges(of: ".")).map { part in
                    let isNumber = !part.isEmpty && part.codePoints.allSatisfy(CodePoint.isDecimal)
                    let number = isNumber ? PythonNumber.integer(part.codePoints, base: 10) : nil
                    return number.map { .integer($0) } ?? .string(part)
                }
            case let other?: path = [other]
            }
        }

        func value(of element: Value, _ renderer: Renderer) throws -> Value {
            var value = element
            for key in path {
                value = try renderer.item(key, of: value)
                if case .undefined = value, let standard { value = standard }
            }
            if ignoresCase, case .string(let text) = value { return .string(text.lowercased) }
            return value
        }
    }

    private static func none(_ value: Value?) -> Value? { if case Value.none? = value { nil } else { value } }

    // MARK: Elements

    private static func last(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        if case .object(let object) = value, object is Generator {
            throw TemplateError.type("'\(object.typeName)' object is not reversible")
        }
        return try renderer.elements(of: value).last ?? .undefined(.other("No last item, sequence was empty."))
    }

    private static func random(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let count = try value.length()
        guard count > 0 else { return .undefined(.other("No random item, sequence was empty.")) }
        if case .dictionary = value { throw TemplateError(.other, "a dictionary has no item by position") }
        return try renderer.item(.integer(Int.random(in: 0..<count)), of: value)
    }

    private static func reversed(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws
        -> Value
    {
        if case .string = value { return try renderer.slice(value, start: nil, stop: nil, step: .integer(-1)) }
        if case .object(let object) = value, !object.isIterable {
            throw TemplateError(.argument, "argument must be iterable")
        }
        guard value.isReversible else {
            throw TemplateError(.argument, "argument must be iterable")
        }
        let elements = try renderer.elements(of: value)
        if case .object(let object) = value, object is Generator { return try renderer.list(elements.reversed()) }
        return try generator(around: [value]) { ValueIterator(elements.reversed()) }
    }

    private static func items(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        try generator(around: [value]) {
            switch value {
            case .undefined: return ValueIterator([])
            case .dictionary(let dictionary):
                try renderer.checkCount(dictionary.entries.count)
                let entries = dictionary.entries
                return ValueIterator(try zip(entries.keys, entries.values).map { try .tuple([$0, $1]) })
            default: throw TemplateError.type("Can only get item pairs from a mapping.")
            }
        }
    }

    private static func joined(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let separator = try arguments.next("d")
        let getter = try AttributeGetter(none(try arguments.next("attribute")))
        let elements = try renderer.elements(of: value).map { try getter.value(of: $0, renderer) }
        var separatorText = try separator?.printed() ?? ""
        if renderer.escapes { return try joinedMarkup(elements, separatorText, renderer) }
        separatorText.isMarkup = false
        let texts = try elements.map { element in
            try renderer.use()
            return try element.printed()
        }
        return .string(try StringMethods.joined(texts, separator: separatorText, renderer))
    }

    private static func joinedMarkup(
        _ elements: [Value], _ separator: TemplateString, _ renderer: Renderer
    ) throws -> Value {
        let texts = try elements.map { try $0.printed() }
        guard separator.isMarkup || texts.contains(where: \.isMarkup) else {
            return .string(try StringMethods.joined(texts, separator: separator, renderer))
        }
        let escaped = texts.map(\.escaped)
        return .string(try StringMethods.joined(escaped, separator: separator.escaped, renderer))
    }

    // MARK: Transforming

    private static func map(_ renderer: Renderer, _ value: Value, _ arguments: Arguments) throws -> Value {
        try generator(around: [value] + arguments.positional + arguments.keywords.map(\.value)) {
            guard value.isTrue else { return ValueIterator([]) }
            let transform = try transformation(arguments, renderer)
            let iterator = try renderer.iterator(over: value)
            return ValueIterator {
                try renderer.use()
                return try renderer.nested { try iterator.next().map(transform) }
            }
        }
    }

    /// What `map` does with an element.
    private static func transformation(
        _ arguments: Arguments, _ renderer: Renderer
    ) throws -> (Value) throws -> Value {
        if arguments.positional.isEmpty, let attribute = arguments.keywords.first(where: { $0.name == "attribute" }) {
            var getter = try AttributeGetter(attribute.value)
            for keyword in arguments.keywords where keyword.name != "attribute" {
                guard keyword.name == "default" else {
                    throw TemplateError(.argument, "Unexpected keyword argument '\(keyword.name)'")
                }
                getter.standard = none(keyword.value)
            }
            return { [getter] in try getter.value(of: $0, renderer) }
        }
        guard let name = arguments.positional.first else {
            throw TemplateError(.argument, "map requires a filter argument")
        }
        let filter = try name.printed().text
        let rest = Arguments(positional: Array(arguments.positional.dropFirst()), keywords: arguments.keywords)
        return { try renderer.apply(filter, to: $0, rest) }
    }

    private static func selected(
        _ renderer: Renderer, _ value: Value, _ arguments: Arguments, byAttribute: Bool, keeps: Bool
    ) throws -> Value {
        try generator(around: [value] + arguments.positional + arguments.keywords.map(\.value)) {
            guard value.isTrue else { return ValueIterator([]) }
            var positional = arguments.positional[...]
            if byAttribute, positional.isEmpty {
                throw TemplateError(.argument, "Missing parameter for attribute name")
            }
            let getter = try AttributeGetter(byAttribute ? positional.removeFirst() : nil)
            let test = try positional.popFirst()?.printed().text
            let rest = Arguments(positional: Array(positional), keywords: arguments.keywords)
            let iterator = try renderer.iterator(over: value)
            return ValueIterator {
                try renderer.nested {
                    while let element = try iterator.next() {
                        try renderer.use()
                        let tested = try getter.value(of: element, renderer)
                        let holds = try test.map { try renderer.test($0, tested, rest) } ?? tested.isTrue
                        if holds == keeps { return element }
                    }
                    return nil
                }
            }
        }
    }

    private static func unique(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let isCaseSensitive = try arguments.flag("case_sensitive")
        var getter = try AttributeGetter(none(try arguments.next("attribute")))
        getter.ignoresCase = !isCaseSensitive
        return try generator(around: [value]) { [getter] in
            let iterator = try renderer.iterator(over: value)
            var seen: Set<HashableValue> = []
            return ValueIterator {
                while let element = try renderer.nested({ try iterator.next() }) {
                    try renderer.use()
                    let key = try getter.value(of: element, renderer)
                    try key.checkHashable()
                    if seen.insert(HashableValue(value: key)).inserted { return element }
                }
                return nil
            }
        }
    }

    private static func batch(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        let count = try arguments.required("linecount")
        let fill = none(try arguments.next("fill_with"))
        return try generator(around: [value] + [fill].compactMap { $0 }) {
            let iterator = try renderer.iterator(over: value)
            var line: [Value] = []
            var isComplete = false
            return ValueIterator {
                guard !isComplete else { return nil }
                while let element = try renderer.nested({ try iterator.next() }) {
                    try renderer.use()
                    let isFull = Value.integer(line.count).isEqual(to: count)
                    let full = line
                    if isFull { line = [] }
                    line.append(element)
                    if isFull { return try renderer.list(full) }
                }
                isComplete = true
                guard !line.isEmpty else { return nil }
                if let fill, try Value.compare(.integer(line.count), count, by: .less) {
                    let missing = try StringMethods.index(count) - line.count
                    try renderer.checkCount(missing)
                    line += repeatElement(fill, count: missing)
                }
                return try renderer.list(line)
            }
        }
    }

    private static func sliced(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let slices = try arguments.required("slices")
        let fill = none(try arguments.next("fill_with"))
        return try generator(around: [value] + [fill].compactMap { $0 }) {
            let elements = try renderer.elements(of: value)
            let count = try StringMethods.index(slices)
            guard count != 0 else { throw TemplateError(.zeroDivision, "integer division or modulo by zero") }
            let (size, longer) = (elements.count / count, elements.count % count)
            var index = 0
            return ValueIterator {
                guard index < count else { return nil }
                let start = index * size + min(index, longer)
                var slice = Array(elements[start..<start + size + (index < longer ? 1 : 0)])
                if let fill, index >= longer { slice.append(fill) }
                index += 1
                return try renderer.list(slice)
            }
        }
    }

    // MARK: Sorting

    private static func sorted(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        let descending = try arguments.flag("reverse")
        let isCaseSensitive = try arguments.flag("case_sensitive")
        let getters: [AttributeGetter] = try attributes(none(try arguments.next("attribute"))).map {
            var getter = try AttributeGetter($0)
            getter.ignoresCase = !isCaseSensitive
            return getter
        }
        let elements = try renderer.elements(of: value)
        try renderer.checkCount(elements.count)
        let keys = try elements.map { element in
            try Value.list(try getters.map { try $0.value(of: element, renderer) })
        }
        try renderer.use(steps: elements.count * 8)
        return try renderer.list(try elements.sorted(by: keys, descending: descending))
    }

    /// Several attributes, separated by commas.
    private static func attributes(_ attribute: Value?) -> [Value?] {
        guard case .string(let text)? = attribute else { return [attribute] }
        return text.split(at: text.ranges(of: ",")).map { .string($0) }
    }

    private static func sortedDictionary(
        _ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader
    ) throws -> Value {
        let isCaseSensitive = try arguments.flag("case_sensitive")
        let by = try arguments.next("by")?.printed().text ?? "key"
        let descending = try arguments.flag("reverse")
        guard by == "key" || by == "value" else {
            throw TemplateError(.argument, "You can only sort by either \"key\" or \"value\"")
        }
        guard case .dictionary(let dictionary) = value else {
            if case .undefined(let undefined) = value { throw undefined.error }
            throw TemplateError(.other, "'\(value.typeName)' object has no attribute 'items'")
        }
        let entries = dictionary.entries
        var getter = try AttributeGetter(nil)
        getter.ignoresCase = !isCaseSensitive
        let keys = try (by == "key" ? entries.keys : entries.values).map { try getter.value(of: $0, renderer) }
        let items = try zip(entries.keys, entries.values).map { try Value.tuple([$0, $1]) }
        try renderer.use(steps: items.count * 8)
        return try renderer.list(try items.sorted(by: keys, descending: descending))
    }

    private static func extremum(
        _ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader, isMaximum: Bool
    ) throws -> Value {
        let isCaseSensitive = try arguments.flag("case_sensitive")
        var getter = try AttributeGetter(none(try arguments.next("attribute")))
        getter.ignoresCase = !isCaseSensitive
        var best: (element: Value, key: Value)?
        for element in try renderer.elements(of: value) {
            try renderer.use()
            let key = try getter.value(of: element, renderer)
            if let best, try !Value.compare(key, best.key, by: isMaximum ? .greater : .less) { continue }
            best = (element, key)
        }
        return best?.element ?? .undefined(.other("No aggregated item, sequence was empty."))
    }

    private static func grouped(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value
    {
        var getter = try AttributeGetter(try arguments.required("attribute"))
        getter.standard = none(try arguments.next("default"))
        getter.ignoresCase = try !arguments.flag("case_sensitive")
        let elements = try renderer.elements(of: value)
        try renderer.use(steps: elements.count * 8)
        let keys = try elements.map { try getter.value(of: $0, renderer) }
        var groups: [(key: Value, elements: [Value])] = []
        for element in try elements.sorted(by: keys, descending: false) {
            let key = try getter.value(of: element, renderer)
            if let last = groups.last, last.key.isEqual(to: key) {
                groups[groups.count - 1].elements.append(element)
            } else {
                groups.append((key, [element]))
            }
        }
        // A group is called what its first element says, in its case.
        getter.ignoresCase = false
        return try renderer.list(
            try groups.map { group in
                try .tuple(
                    [try getter.value(of: group.elements[0], renderer), try renderer.list(group.elements)],
                    isGroup: true)
            })
    }

    private static func sum(_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Value {
        let getter = try AttributeGetter(none(try arguments.next("attribute")))
        var sum = try arguments.next("start") ?? .integer(0)
        if case .string = sum { throw TemplateError.type("sum() can't sum strings [use ''.join(seq) instead]") }
        for element in try renderer.elements(of: value) {
            try renderer.use()
            sum = try renderer.compute(.add, sum, try getter.value(of: element, renderer))
        }
        return sum
    }
}

extension Value {
    /// Whether `reverse` takes it.
    fileprivate var isReversible: Bool {
        switch self {
        case .none, .boolean, .integer, .bigInteger, .float: false
        default: true
        }
    }
}
