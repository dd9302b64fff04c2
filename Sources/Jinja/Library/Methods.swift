/// A method of a value: gets the value that it belongs to with the arguments.
typealias Method<Owner> =
    @Sendable (_ owner: Owner, _ arguments: inout ArgumentReader, _ renderer: Renderer) throws -> Value

/// The attributes that Python's types have, as far as the sandbox gives them out.
enum Methods {
    /// An attribute of a value; nil where it has none of the name that may be had.
    static func attribute(_ name: String, of owner: Value) throws -> Value? {
        switch owner {
        case .string(let text): try StringMethods.all[name].map { try bound(name, $0, to: text, owner) }
        case .dictionary(let dictionary):
            try ContainerMethods.ofDictionaries[name].map { try bound(name, $0, to: dictionary.entries, owner) }
        case .list(let list): try ContainerMethods.ofLists[name].map { try bound(name, $0, to: list.elements, owner) }
        case .tuple(let tuple): try tupleAttribute(name, of: tuple, owner)
        case .bytes(let bytes): try ContainerMethods.ofBytes[name].map { try bound(name, $0, to: bytes, owner) }
        case .range(let range): try rangeAttribute(name, of: range, owner)
        case .boolean, .integer, .bigInteger, .float: try NumberMethods.attribute(name, of: owner)
        default: nil
        }
    }

    static func bound<Owner>(_ name: String, _ method: @escaping Method<Owner>, to owner: Owner, _ value: Value) throws
        -> Value
    {
        .object(
            try Function(name, of: value) { arguments, renderer in
                var reader = ArgumentReader(arguments, of: name)
                let result = try method(owner, &reader, renderer)
                try reader.finish()
                return result
            })
    }

    private static func tupleAttribute(_ name: String, of tuple: Elements, _ owner: Value) throws -> Value? {
        if tuple.isGroup, name == "grouper" || name == "list" { return tuple.elements[name == "grouper" ? 0 : 1] }
        guard name == "count" || name == "index" else { return nil }
        return try ContainerMethods.ofLists[name].map { try bound(name, $0, to: tuple.elements, owner) }
    }

    private static func rangeAttribute(_ name: String, of range: PythonRange, _ owner: Value) throws -> Value? {
        switch name {
        case "start": return .integer(range.start)
        case "stop": return .integer(range.stop)
        case "step": return .integer(range.step)
        case "count", "index":
            return try ContainerMethods.ofLists[name].map { method in
                try bound(
                    name, { range, reader, renderer in try method(range.elements, &reader, renderer) }, to: range, owner
                )
            }
        default: return nil
        }
    }

    // MARK: What is not given out

    private static let ofAllObjects: Set<String> = [
        "__class__", "__delattr__", "__dir__", "__doc__", "__eq__", "__format__", "__ge__", "__getattribute__",
        "__getstate__", "__gt__", "__hash__", "__init__", "__init_subclass__", "__le__", "__lt__", "__ne__", "__new__",
        "__reduce__", "__reduce_ex__", "__repr__", "__setattr__", "__sizeof__", "__str__", "__subclasshook__",
    ]
    private static let ofContainers: Set<String> = ["__contains__", "__getitem__", "__iter__", "__len__"]
    private static let changingLists: Set<String> = [
        "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
    ]
    private static let changingDictionaries: Set<String> = ["clear", "pop", "popitem", "setdefault", "update"]

    /// Whether Python's value has the attribute, but the sandbox keeps it: because it begins with an underscore, or
    /// because it changes a list or dictionary.
    static func isUnsafe(_ name: String, of owner: Value) -> Bool {
        if ofAllObjects.contains(name) { return true }
        switch owner {
        case .list: return changingLists.contains(name) || ofContainers.contains(name)
        case .dictionary: return changingDictionaries.contains(name) || ofContainers.contains(name)
        case .string, .tuple, .bytes, .range: return ofContainers.contains(name)
        case .object(let object): return object is Function && ["__call__", "__name__", "__self__"].contains(name)
        default: return false
        }
    }
}

/// The methods of numbers.
enum NumberMethods {
    static func attribute(_ name: String, of owner: Value) throws -> Value? {
        if case .float(let value) = owner { return try attribute(name, of: value, owner) }
        guard let integer = owner.number?.big else { return nil }
        switch name {
        case "real", "numerator": return .integer(integer)
        case "imag": return .integer(0)
        case "denominator": return .integer(1)
        case "bit_length": return try method(name, of: owner) { .integer(integer.bitWidth) }
        case "bit_count": return try method(name, of: owner) { .integer(integer.bitCount) }
        case "conjugate": return try method(name, of: owner) { .integer(integer) }
        case "as_integer_ratio": return try method(name, of: owner) { try .tuple([.integer(integer), .integer(1)]) }
        default: return nil
        }
    }

    private static func attribute(_ name: String, of value: Double, _ owner: Value) throws -> Value? {
        switch name {
        case "real": return owner
        case "imag": return .float(0)
        case "conjugate": return try method(name, of: owner) { owner }
        case "is_integer":
            return try method(name, of: owner) { .boolean(value.isFinite && value == value.rounded(.towardZero)) }
        default: return nil
        }
    }

    private static func method(_ name: String, of owner: Value, _ body: @escaping () throws -> Value) throws -> Value {
        .object(
            try Function(name, of: owner) { arguments, _ in
                try ArgumentReader(arguments, of: name).finish()
                return try body()
            })
    }
}
