/// A value with a state or a behavior of its own. This is the base of them; each says what it can.
class Object {
    /// How deep values are nested that it holds for good. Those of namespaces, macros and loops are let go by ``release()``.
    let depth: Int

    init() { depth = 0 }

    /// - Throws: `TemplateError` where values are nested too deeply.
    init(around values: [Value]) throws { depth = try Value.depth(around: values) }

    /// The name of its type in Python.
    var typeName: String { "object" }
    /// Its length, where it has one.
    var count: Int? { nil }
    /// Whether it can be called.
    var isCallable: Bool { false }
    /// Whether it can be iterated over.
    var isIterable: Bool { false }
    /// Whether it is subscripted by keys.
    var isSubscriptable: Bool { false }

    /// An attribute; nil where it has none of the name.
    func attribute(_ name: String) -> Value? { nil }

    /// An item; nil where there is none of the key.
    func item(_ key: Value) -> Value? { nil }

    func isEqual(to other: Object) -> Bool { self === other }

    func representation(depth: Int) throws -> TemplateString { TemplateString("<\(typeName) object>") }

    func call(_ arguments: Arguments, _ renderer: Renderer) throws -> Value {
        throw TemplateError.type("'\(typeName)' object is not callable")
    }

    /// The elements one by one.
    func makeIterator(_ renderer: Renderer) throws -> ValueIterator {
        throw TemplateError.type("'\(typeName)' object is not iterable")
    }

    /// Lets go of values that may hold this object in turn.
    func release() {}
}

/// What a call gives a function.
struct Arguments {
    var positional: [Value] = []
    var keywords: [(name: String, value: Value)] = []
}

/// Takes the arguments of a Python function one by one, by place or by name.
struct ArgumentReader {
    private let function: String
    private var positional: ArraySlice<Value>
    private var keywords: [(name: String, value: Value)]

    init(_ arguments: Arguments, of function: String) {
        self.function = function
        positional = arguments.positional[...]
        keywords = arguments.keywords
    }

    /// The next argument, where it is given.
    mutating func next(_ name: String) throws -> Value? {
        let keyword = keywords.firstIndex { $0.name == name }
        if let value = positional.popFirst() {
            guard keyword == nil else {
                throw TemplateError.type("\(function)() got multiple values for argument '\(name)'")
            }
            return value
        }
        return keyword.map { keywords.remove(at: $0).value }
    }

    mutating func required(_ name: String) throws -> Value {
        guard let value = try next(name) else {
            throw TemplateError.type("\(function)() missing a required argument: '\(name)'")
        }
        return value
    }

    /// The next argument of a function that takes none by name.
    mutating func nextPositional() -> Value? { positional.popFirst() }

    mutating func requiredPositional() throws -> Value {
        guard let value = positional.popFirst() else {
            throw TemplateError.type("\(function)() needs more arguments than it was given")
        }
        return value
    }

    /// All the arguments that are left.
    mutating func takeRest() -> Arguments {
        defer { (positional, keywords) = ([], []) }
        return Arguments(positional: Array(positional), keywords: keywords)
    }

    mutating func flag(_ name: String) throws -> Bool { try next(name)?.isTrue ?? false }

    mutating func text(_ name: String) throws -> TemplateString? {
        switch try next(name) {
        case nil, Value.none?: return nil
        case .string(let text)?: return text
        case let other?: throw TemplateError.type("\(function)() argument '\(name)' must be str, not \(other.typeName)")
        }
    }

    mutating func integer(_ name: String) throws -> Int? {
        try next(name).map { value in
            if let index = value.index { return index }
            if case .bigInteger = value {
                throw TemplateError(.overflow, "\(function)() argument '\(name)' is too large")
            }
            if case .undefined(let undefined) = value { throw undefined.error }
            throw TemplateError.type("'\(value.typeName)' object cannot be interpreted as an integer")
        }
    }

    /// - Throws: `TemplateError` where arguments are left that the function does not take.
    func finish() throws {
        if let keyword = keywords.first {
            throw TemplateError.type("\(function)() got an unexpected keyword argument '\(keyword.name)'")
        }
        if !positional.isEmpty {
            throw TemplateError.type("\(function)() was given \(positional.count) arguments too many")
        }
    }
}

/// Elements one by one.
final class ValueIterator {
    private let advance: () throws -> Value?

    init(_ advance: @escaping () throws -> Value?) { self.advance = advance }

    convenience init(_ elements: [Value]) {
        var index = 0
        self.init {
            guard index < elements.count else { return nil }
            index += 1
            return elements[index - 1]
        }
    }

    func next() throws -> Value? { try advance() }
}

/// What Python calls a generator: elements that are computed as they are asked for, once.
final class Generator: Object {
    private var iterator: ValueIterator?
    private let make: () throws -> ValueIterator

    override var typeName: String { "generator" }
    override var isIterable: Bool { true }

    /// What `make` does waits until the first element is asked for. It may use `values`.
    init(around values: [Value], _ make: @escaping () throws -> ValueIterator) throws {
        self.make = make
        try super.init(around: values)
    }

    override func makeIterator(_ renderer: Renderer) throws -> ValueIterator {
        ValueIterator {
            if self.iterator == nil { self.iterator = try self.make() }
            return try self.iterator?.next()
        }
    }
}

/// A function of the environment, or a method with its object.
final class Function: Object {
    private let name: String
    private let body: (Arguments, Renderer) throws -> Value

    override var typeName: String { "builtin_function_or_method" }
    override var isCallable: Bool { true }

    init(_ name: String, _ body: @escaping (Arguments, Renderer) throws -> Value) {
        self.name = name
        self.body = body
        super.init()
    }

    /// A method of a value.
    init(_ name: String, of owner: Value, _ body: @escaping (Arguments, Renderer) throws -> Value) throws {
        self.name = name
        self.body = body
        try super.init(around: [owner])
    }

    override func representation(depth: Int) -> TemplateString { TemplateString("<built-in function \(name)>") }

    override func call(_ arguments: Arguments, _ renderer: Renderer) throws -> Value { try body(arguments, renderer) }
}

/// What `namespace()` gives: attributes that can be set from inner scopes.
final class Namespace: Object {
    private(set) var attributes: Entries

    override var typeName: String { "Namespace" }
    override var isSubscriptable: Bool { true }

    init(_ attributes: Entries) {
        self.attributes = attributes
        super.init()
    }

    override func attribute(_ name: String) -> Value? { attributes[.string(name)] }

    override func item(_ key: Value) -> Value? { attributes[key] }

    func set(_ name: String, to value: Value) throws {
        try Self.check(.string(name))
        attributes[.string(name)] = value
    }

    /// - Throws: `TemplateError` for names that begin with an underscore.
    static func check(_ name: Value) throws {
        if case .string(let text) = name, text.codePoints.first == 0x5F {
            throw TemplateError(.security, "a namespace takes no name that begins with an underscore: '\(text.text)'")
        }
    }

    override func representation(depth: Int) throws -> TemplateString {
        var text: TemplateString = "<Namespace "
        text.append(try Value.representation(of: attributes, depth: depth + 1))
        text.append(">")
        return text
    }

    override func release() { attributes = Entries() }
}

/// What `dict.keys()`, `dict.values()` and `dict.items()` give.
final class DictionaryView: Object {
    enum Kind: String { case keys, values, items }

    private let kind: Kind
    private let elements: [Value]

    override var typeName: String { "dict_\(kind.rawValue)" }
    override var count: Int? { elements.count }
    override var isIterable: Bool { true }

    init(_ kind: Kind, of entries: Entries) throws {
        self.kind = kind
        switch kind {
        case .keys: elements = entries.keys
        case .values: elements = entries.values
        case .items: elements = try zip(entries.keys, entries.values).map { try .tuple([$0, $1]) }
        }
        try super.init(around: elements)
    }

    override func isEqual(to other: Object) -> Bool {
        guard let other = other as? DictionaryView, kind != .values, other.kind != .values else {
            return self === other
        }
        return elements.count == other.elements.count
            && elements.allSatisfy { element in other.elements.contains { $0.isEqual(to: element) } }
    }

    override func makeIterator(_ renderer: Renderer) -> ValueIterator { ValueIterator(elements) }

    override func representation(depth: Int) throws -> TemplateString {
        let elements = try elements.map { try $0.representation(depth: depth + 1) }
        return Value.enclosed("\(typeName)([", elements, "])")
    }
}

/// What `cycler(…)` gives.
final class Cycler: Object {
    private let items: [Value]
    private var position = 0

    override var typeName: String { "Cycler" }

    init(_ items: [Value]) throws {
        self.items = items
        try super.init(around: items)
    }

    override func attribute(_ name: String) -> Value? {
        switch name {
        case "current": items[position]
        case "items": try? .tuple(items)
        case "pos": .integer(position)
        case "next":
            .object(
                Function("next") { arguments, _ in
                    try ArgumentReader(arguments, of: "next").finish()
                    defer { self.position = (self.position + 1) % self.items.count }
                    return self.items[self.position]
                })
        case "reset":
            .object(
                Function("reset") { arguments, _ in
                    try ArgumentReader(arguments, of: "reset").finish()
                    self.position = 0
                    return .none
                })
        default: nil
        }
    }
}

/// What `joiner(…)` gives: nothing when it is called first, then its separator.
final class Joiner: Object {
    private let separator: Value
    private var wasUsed = false

    override var typeName: String { "Joiner" }
    override var isCallable: Bool { true }

    init(_ separator: Value) throws {
        self.separator = separator
        try super.init(around: [separator])
    }

    override func attribute(_ name: String) -> Value? {
        switch name {
        case "sep": separator
        case "used": .boolean(wasUsed)
        default: nil
        }
    }

    override func call(_ arguments: Arguments, _ renderer: Renderer) throws -> Value {
        try ArgumentReader(arguments, of: "joiner").finish()
        defer { wasUsed = true }
        return wasUsed ? separator : .string("")
    }
}
