import Foundation

/// What to do about a key that stands twice in one object.
package enum DuplicateKeys: Sendable {
    /// Refuse the text.
    case refused
    /// Take the later member, as Python's `json` does.
    case lastCounts
}

extension JSONReader {
    /// Values in trees, which bounds the memory that a hostile text can ask for to a few hundred megabytes.
    private static let maximumValueCount = 5_000_000

    /// Reads any value as a tree.
    ///
    /// Two keys that are canonically equivalent are one key here, as they are to `Dictionary`.
    package mutating func readValue(duplicateKeys: DuplicateKeys) throws -> JSONValue {
        let kind = try peekKind()
        treeValueCount += 1
        guard treeValueCount <= Self.maximumValueCount else {
            throw failure(.tooManyValues(limit: Self.maximumValueCount))
        }
        switch kind {
        case .object:
            var object = JSONObject()
            try readObject { reader, key in
                let key = try reader.text(of: key)
                if duplicateKeys == .refused, object[key] != nil { throw reader.failure(.duplicateKey(key)) }
                object[key] = try reader.readValue(duplicateKeys: duplicateKeys)
            }
            return .object(object)
        case .array:
            var elements: [JSONValue] = []
            try readArray { reader in elements.append(try reader.readValue(duplicateKeys: duplicateKeys)) }
            return .array(elements)
        case .string:
            var string: [UInt8] = []
            try readString(into: &string)
            return .string(try text(of: string))
        case .number:
            return try readNumber()
        case .boolean:
            return .boolean(try readBoolean())
        case .null:
            try readNull()
            return .null
        }
    }
}

extension JSONValue {
    /// Reads a whole text, in which no key may stand twice in one object.
    ///
    /// - Throws: ``JSONError``.
    package static func parse(_ bytes: UnsafeRawBufferPointer) throws -> JSONValue {
        var reader = try JSONReader(validating: bytes)
        let value = try reader.readValue(duplicateKeys: .refused)
        try reader.readEnd()
        return value
    }

    /// Reads a whole text, in which no key may stand twice in one object.
    ///
    /// - Throws: ``JSONError``.
    package static func parse(_ data: Data) throws -> JSONValue {
        try data.withUnsafeBytes { try parse($0) }
    }
}
