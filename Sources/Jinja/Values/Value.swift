/// A value of a template: one of Python's.
///
/// Values are immutable, as the sandbox demands; what has a state of its own (namespaces, iterators, loops) is an ``Object``.
enum Value {
    case undefined(Undefined)
    case none
    case boolean(Bool)
    case integer(Int)
    /// An integer beyond `Int`.
    case bigInteger(BigInteger)
    case float(Double)
    case string(TemplateString)
    case bytes([UInt8])
    case list(Elements)
    case tuple(Elements)
    case dictionary(Mapping)
    case range(PythonRange)
    case object(Object)

    static func string(_ text: String, origin: Origin = .template) -> Value {
        .string(TemplateString(text, origin: origin))
    }

    /// An integer that is big only if it has to be.
    static func integer(_ value: BigInteger) -> Value { Int(exactly: value).map { .integer($0) } ?? .bigInteger(value) }
}

/// Something that is not there: what it was, for the error of whoever needs it.
indirect enum Undefined {
    case name(String)
    /// A value that has no attribute, key or element of this name.
    case attribute(String, of: Value)
    case element(Value, of: Value)
    case other(String)
    /// An attribute that the sandbox does not give out.
    case unsafe(String, of: Value)

    /// How deep the values are nested that it names.
    fileprivate var depth: Int {
        switch self {
        case .name, .other: 0
        case .attribute(_, let owner), .unsafe(_, let owner): owner.depth
        case .element(let key, let owner): max(key.depth, owner.depth)
        }
    }

    /// What the one who uses it is told.
    var error: TemplateError {
        switch self {
        case .name(let name): TemplateError(.undefined, "'\(name)' is undefined")
        case .attribute(let name, let owner):
            TemplateError(.undefined, "'\(owner.typeDescription)' has no attribute '\(name)'")
        case .element(let key, let owner):
            TemplateError(.undefined, "\(owner.typeDescription) has no element \(key.shortDescription)")
        case .other(let message): TemplateError(.undefined, message)
        case .unsafe(let name, let owner):
            TemplateError(.security, "access to attribute '\(name)' of '\(owner.typeName)' object is unsafe")
        }
    }
}

/// The elements of a list or tuple, shared by all who have it.
final class Elements {
    let elements: [Value]
    /// How deep containers are nested in it, itself counted.
    let depth: Int
    /// Whether it is a pair of `groupby`, whose elements have the names `grouper` and `list`.
    let isGroup: Bool

    fileprivate init(_ elements: [Value], depth: Int, isGroup: Bool) {
        self.elements = elements
        self.depth = depth
        self.isGroup = isGroup
    }
}

extension Value {
    /// Deeper nesting is refused: values are compared, printed and freed recursively.
    static let maximumDepth = 128

    /// How deep something nests that holds the values.
    static func depth(around elements: [Value]) throws -> Int {
        let depth = 1 + (elements.lazy.map(\.depth).max() ?? 0)
        guard depth <= maximumDepth else {
            throw TemplateError(.recursion, "lists and dictionaries are nested more than \(maximumDepth) deep")
        }
        return depth
    }

    fileprivate var depth: Int {
        switch self {
        case .list(let sequence), .tuple(let sequence): sequence.depth
        case .dictionary(let dictionary): dictionary.depth
        case .object(let object): object.depth
        case .undefined(let undefined): undefined.depth
        default: 0
        }
    }

    /// - Throws: `TemplateError` where values are nested too deeply.
    static func list(_ elements: [Value]) throws -> Value {
        .list(Elements(elements, depth: try depth(around: elements), isGroup: false))
    }

    /// - Throws: `TemplateError` where values are nested too deeply.
    static func tuple(_ elements: [Value], isGroup: Bool = false) throws -> Value {
        .tuple(Elements(elements, depth: try depth(around: elements), isGroup: isGroup))
    }

    /// - Throws: `TemplateError` where values are nested too deeply.
    static func dictionary(_ entries: Entries) throws -> Value {
        .dictionary(Mapping(entries, depth: try depth(around: entries.values)))
    }

    static func list(_ strings: [TemplateString]) -> Value {
        .list(Elements(strings.map { .string($0) }, depth: 1, isGroup: false))
    }

    static func tuple(_ strings: [TemplateString]) -> Value {
        .tuple(Elements(strings.map { .string($0) }, depth: 1, isGroup: false))
    }
}

/// A dictionary, shared by all who have it.
final class Mapping {
    let entries: Entries
    let depth: Int

    fileprivate init(_ entries: Entries, depth: Int) {
        self.entries = entries
        self.depth = depth
    }
}

/// Keys and their values in the order in which the keys came.
struct Entries {
    /// With so many keys or fewer a search takes no longer than an index.
    private static let indexedCount = 12

    private(set) var keys: [Value] = []
    private(set) var values: [Value] = []
    private var positions: [HashableValue: Int] = [:]

    var count: Int { keys.count }

    /// The value of a key, which has to be hashable. A key that is there keeps its place.
    subscript(key: Value) -> Value? {
        get { position(of: key).map { values[$0] } }
        set {
            guard let newValue else { preconditionFailure("entries are never removed") }
            if let position = position(of: key) {
                values[position] = newValue
                return
            }
            keys.append(key)
            values.append(newValue)
            if keys.count == Self.indexedCount + 1 {
                for (position, key) in keys.enumerated() { positions[HashableValue(value: key)] = position }
            } else if keys.count > Self.indexedCount {
                positions[HashableValue(value: key)] = keys.count - 1
            }
        }
    }

    private func position(of key: Value) -> Int? {
        if keys.count > Self.indexedCount { return positions[HashableValue(value: key)] }
        if case .string(let text) = key {
            return keys.firstIndex { if case .string(text) = $0 { true } else { false } }
        }
        return keys.firstIndex { $0.isEqual(to: key) }
    }
}

/// What `range` gives.
struct PythonRange: Hashable {
    let start: Int
    let stop: Int
    let step: Int

    var count: Int {
        if step > 0 { return start < stop ? (stop - start - 1) / step + 1 : 0 }
        return start > stop ? (start - stop - 1) / -step + 1 : 0
    }

    subscript(position: Int) -> Int { start + position * step }

    var elements: [Value] { (0..<count).map { .integer(self[$0]) } }

    func contains(_ value: Int) -> Bool {
        guard step > 0 ? start <= value && value < stop : stop < value && value <= start else { return false }
        return (value - start) % step == 0
    }
}

extension Value {
    /// The name of its type in Python.
    var typeName: String {
        switch self {
        case .undefined: "Undefined"
        case .none: "NoneType"
        case .boolean: "bool"
        case .integer, .bigInteger: "int"
        case .float: "float"
        case .string(let text): text.isMarkup ? "Markup" : "str"
        case .bytes: "bytes"
        case .list: "list"
        case .tuple: "tuple"
        case .dictionary: "dict"
        case .range: "range"
        case .object(let object): object.typeName
        }
    }

    /// As an error names a value: `dict object`.
    fileprivate var typeDescription: String {
        if case .none = self { return "None" }
        return "\(typeName) object"
    }

    /// The value, shortened for an error.
    var shortDescription: String {
        let text = (try? representation(depth: 0))?.text ?? typeName
        return text.unicodeScalars.count > 60 ? String(text.unicodeScalars.prefix(57)) + "..." : text
    }

    /// Python's `bool(value)`.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .boolean(let value): value
        case .integer(let value): value != 0
        case .bigInteger: true
        case .float(let value): value != 0
        case .string(let text): !text.isEmpty
        case .bytes(let bytes): !bytes.isEmpty
        case .list(let sequence), .tuple(let sequence): !sequence.elements.isEmpty
        case .dictionary(let dictionary): dictionary.entries.count > 0
        case .range(let range): range.count > 0
        case .object(let object): object.count.map { $0 > 0 } ?? true
        }
    }

    /// Python's `len(value)`.
    func length() throws -> Int {
        switch self {
        case .undefined: return 0
        case .string(let text): return text.count
        case .bytes(let bytes): return bytes.count
        case .list(let sequence), .tuple(let sequence): return sequence.elements.count
        case .dictionary(let dictionary): return dictionary.entries.count
        case .range(let range): return range.count
        case .object(let object): if let count = object.count { return count }
        default: break
        }
        throw TemplateError.type("object of type '\(typeName)' has no len()")
    }

    /// What a subscript, a size or a width can be given as. Booleans are integers.
    var index: Int? {
        switch self {
        case .boolean(let value): value ? 1 : 0
        case .integer(let value): value
        default: nil
        }
    }
}
