import Foundation

/// The types of metadata values, by the numbers that they have in a file.
public enum GGUFValueType: UInt32, Sendable, Hashable, CaseIterable {
    case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

    /// Bytes of a value; nil where it depends on the value.
    var byteWidth: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }

    /// The fewest bytes that a value can have: the length of a string, type and count of an array.
    var minimumByteCount: Int { byteWidth ?? (self == .string ? 8 : 12) }
}

/// A metadata value with its type.
public enum GGUFValue: Sendable, Hashable {
    case uint8(UInt8)
    case int8(Int8)
    case uint16(UInt16)
    case int16(Int16)
    case uint32(UInt32)
    case int32(Int32)
    case float32(Float)
    case bool(Bool)
    case string(String)
    case array(GGUFArray)
    case uint64(UInt64)
    case int64(Int64)
    case float64(Double)

    /// What the value is in a file.
    public var type: GGUFValueType {
        switch self {
        case .uint8: .uint8
        case .int8: .int8
        case .uint16: .uint16
        case .int16: .int16
        case .uint32: .uint32
        case .int32: .int32
        case .float32: .float32
        case .bool: .bool
        case .string: .string
        case .array: .array
        case .uint64: .uint64
        case .int64: .int64
        case .float64: .float64
        }
    }

    /// The value of any of the integer types, where it fits.
    public var integer: Int? {
        switch self {
        case .uint8(let value): Int(value)
        case .int8(let value): Int(value)
        case .uint16(let value): Int(value)
        case .int16(let value): Int(value)
        case .uint32(let value): Int(value)
        case .int32(let value): Int(value)
        case .uint64(let value): Int(exactly: value)
        case .int64(let value): Int(value)
        case .float32, .float64, .bool, .string, .array: nil
        }
    }

    /// The value of any of the types of numbers.
    public var number: Double? {
        switch self {
        case .float32(let value): Double(value)
        case .float64(let value): value
        default: integer.map(Double.init)
        }
    }

    /// The value in a message, cut short.
    var summary: String {
        switch self {
        case .string(let value): "\"\(value.prefix(64))\""
        case .bool(let value): "\(value)"
        case .array(let array): "an array of \(array.count) × \(array.elementType)"
        default: number.map { integer.map(String.init) ?? "\($0)" } ?? "\(type)"
        }
    }
}

/// An array of metadata values of one type: the bytes that it has in a file, and what they say.
///
/// A vocabulary has hundreds of thousands of strings; they are made when they are asked for.
public struct GGUFArray: Sendable, Hashable {
    public let elementType: GGUFValueType
    public let count: Int
    /// The elements as they are in a file, one behind the other; of strings each with its length before it.
    let bytes: [UInt8]

    /// - Precondition: the bytes are so many elements.
    init(elementType: GGUFValueType, count: Int, bytes: [UInt8]) {
        self.elementType = elementType
        self.count = count
        self.bytes = bytes
    }

    /// An array of strings.
    public init(_ strings: some Collection<String>) {
        var encoder = GGUFEncoder()
        for string in strings { encoder.append(string) }
        self.init(elementType: .string, count: strings.count, bytes: encoder.bytes)
    }

    /// An array of integers, of the type of 32 bits: what token types are.
    public init(_ integers: some Collection<Int32>) {
        var encoder = GGUFEncoder()
        for integer in integers { encoder.append(UInt32(bitPattern: integer)) }
        self.init(elementType: .int32, count: integers.count, bytes: encoder.bytes)
    }

    /// An array of truths: which layers have windows.
    public init(_ booleans: some Collection<Bool>) {
        self.init(elementType: .bool, count: booleans.count, bytes: booleans.map { $0 ? 1 : 0 })
    }

    /// An array of numbers: what scores are.
    public init(_ floats: some Collection<Float>) {
        var encoder = GGUFEncoder()
        for float in floats { encoder.append(float.bitPattern) }
        self.init(elementType: .float32, count: floats.count, bytes: encoder.bytes)
    }

    /// The elements' bytes where they are strings, in their order; nil where they are something else. They need not be UTF-8.
    package var stringBytes: [ArraySlice<UInt8>]? {
        guard elementType == .string else { return nil }
        var strings: [ArraySlice<UInt8>] = []
        strings.reserveCapacity(count)
        var offset = 0
        for _ in 0..<count {
            let length = Int(bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) })
            strings.append(bytes[offset + 8..<offset + 8 + length])
            offset += 8 + length
        }
        return strings
    }

    /// The elements; nil where they are something else than integers, or one does not fit.
    public var integers: [Int]? {
        let values = scalars()?.map(\.integer)
        return values.flatMap { values in values.contains { $0 == nil } ? nil : values.compactMap { $0 } }
    }

    /// The elements; nil where they are something else than truths, or integers that are 0 for false.
    public var booleans: [Bool]? {
        let values = scalars()?.map { value in
            if case .bool(let value) = value { value } else { value.integer.map { $0 != 0 } }
        }
        return values.flatMap { values in values.contains { $0 == nil } ? nil : values.compactMap { $0 } }
    }

    /// The elements; nil where they are something else than numbers.
    public var numbers: [Double]? {
        let values = scalars()?.map(\.number)
        return values.flatMap { values in values.contains { $0 == nil } ? nil : values.compactMap { $0 } }
    }

    /// The elements of a type of fixed width.
    private func scalars() -> [GGUFValue]? {
        guard let width = elementType.byteWidth else { return nil }
        return bytes.withUnsafeBytes { bytes in
            (0..<count).map { GGUFValue(elementType, scalar: bytes.baseAddress! + $0 * width) }
        }
    }
}

extension GGUFValue {
    /// A value of a type of fixed width, at any alignment.
    init(_ type: GGUFValueType, scalar bytes: UnsafeRawPointer) {
        func load<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer {
            Integer(littleEndian: bytes.loadUnaligned(as: type))
        }
        switch type {
        case .uint8: self = .uint8(load(UInt8.self))
        case .int8: self = .int8(load(Int8.self))
        case .uint16: self = .uint16(load(UInt16.self))
        case .int16: self = .int16(load(Int16.self))
        case .uint32: self = .uint32(load(UInt32.self))
        case .int32: self = .int32(load(Int32.self))
        case .uint64: self = .uint64(load(UInt64.self))
        case .int64: self = .int64(load(Int64.self))
        case .float32: self = .float32(Float(bitPattern: load(UInt32.self)))
        case .float64: self = .float64(Double(bitPattern: load(UInt64.self)))
        case .bool: self = .bool(load(UInt8.self) != 0)
        case .string, .array: preconditionFailure("of no fixed width")
        }
    }
}

/// A GGUF file's metadata: values by key, in the order of the file.
public struct GGUFMetadata: Sendable {
    /// Where it is from, for messages.
    public let file: String
    /// The keys in their order.
    public private(set) var keys: [String] = []
    private var values: [String: GGUFValue] = [:]

    /// No metadata yet, of a file of that name.
    public init(file: String) { self.file = file }

    /// The value of a key; nil where there is none. A key that is new comes behind the others; setting nil removes one.
    public subscript(key: String) -> GGUFValue? {
        get { values[key] }
        set {
            let oldValue = values[key]
            values[key] = newValue
            if oldValue == nil, newValue != nil { keys.append(key) }
            if oldValue != nil, newValue == nil { keys.removeAll { $0 == key } }
        }
    }

    /// The text of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func string(_ key: String) throws -> String? {
        try value(key, "a string") { if case .string(let value) = $0 { value } else { nil } }
    }

    /// The truth of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func boolean(_ key: String) throws -> Bool? {
        try value(key, "a boolean") { if case .bool(let value) = $0 { value } else { nil } }
    }

    /// The integer of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func integer(_ key: String, in bounds: ClosedRange<Int>) throws -> Int? {
        try value(key, "an integer from \(bounds.lowerBound) to \(bounds.upperBound)") { value in
            value.integer.flatMap { bounds.contains($0) ? $0 : nil }
        }
    }

    /// The positive number of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func positiveNumber(_ key: String) throws -> Double? {
        try value(key, "a positive number") { value in
            value.number.flatMap { $0 > 0 && $0.isFinite ? $0 : nil }
        }
    }

    /// The array of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func array(_ key: String) throws -> GGUFArray? {
        try value(key, "an array") { if case .array(let value) = $0 { value } else { nil } }
    }

    /// The integers of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func integers(_ key: String) throws -> [Int]? {
        try value(key, "an array of integers") { if case .array(let value) = $0 { value.integers } else { nil } }
    }

    /// The numbers of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``
    public func numbers(_ key: String) throws -> [Double]? {
        try value(key, "an array of numbers") { if case .array(let value) = $0 { value.numbers } else { nil } }
    }

    /// The texts of a key; nil where there is none.
    ///
    /// - Throws: ``GGUFError/wrongValue(file:key:expected:found:)``, ``GGUFError/notUTF8(file:place:)``
    public func strings(_ key: String) throws -> [String]? {
        let elements: [ArraySlice<UInt8>]? = try value(key, "an array of strings") {
            if case .array(let value) = $0 { value.stringBytes } else { nil }
        }
        return try elements?.enumerated().map { index, bytes in
            guard let string = String(validating: bytes, as: UTF8.self) else {
                throw GGUFError.notUTF8(file: file, place: "\(key)[\(index)]")
            }
            return string
        }
    }

    /// What a key must have.
    ///
    /// - Throws: ``GGUFError/missingKey(file:key:)``
    public func required<Value>(_ key: String, _ value: Value?) throws -> Value {
        guard let value else { throw GGUFError.missingKey(file: file, key: key) }
        return value
    }

    private func value<Value>(
        _ key: String, _ expected: String, _ convert: (GGUFValue) -> Value?
    ) throws -> Value? {
        guard let value = values[key] else { return nil }
        guard let converted = convert(value) else {
            throw GGUFError.wrongValue(file: file, key: key, expected: expected, found: value.summary)
        }
        return converted
    }
}

/// The bytes of a header, as they are written.
struct GGUFEncoder {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ integer: some FixedWidthInteger) {
        withUnsafeBytes(of: integer.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func append(_ string: String) {
        append(UInt64(string.utf8.count))
        bytes.append(contentsOf: string.utf8)
    }

    /// A value without its type before it.
    mutating func append(_ value: GGUFValue) {
        switch value {
        case .uint8(let value): append(value)
        case .int8(let value): append(value)
        case .uint16(let value): append(value)
        case .int16(let value): append(value)
        case .uint32(let value): append(value)
        case .int32(let value): append(value)
        case .uint64(let value): append(value)
        case .int64(let value): append(value)
        case .float32(let value): append(value.bitPattern)
        case .float64(let value): append(value.bitPattern)
        case .bool(let value): append(UInt8(value ? 1 : 0))
        case .string(let value): append(value)
        case .array(let array):
            append(array.elementType.rawValue)
            append(UInt64(array.count))
            bytes.append(contentsOf: array.bytes)
        }
    }
}
