// JSON: reading JSON with order and duplicate keys kept, values, one typed node that knows file and key path, JSON lines,
// and writing; and, because every module that reads a file needs them, plain and gzipped files as bytes, text and lines. May
// import nothing but CZlib.

import Foundation

/// A JSON value as a tree: member order kept, integers exact, duplicate keys impossible.
///
/// Foundation's reader silently keeps one of two equal keys and turns every number into `NSNumber`; the headers and
/// configurations read here are not trusted, so both matter.
package enum JSONValue: Sendable, Hashable {
    case null
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// A float as the shortest decimal that reads back as it, not as the double beside it.
    package init(_ value: Float) {
        self = .number(Double(value.description) ?? Double(value))
    }

    /// The value as JSON, shortened for an error message.
    package var summary: String {
        let text = serialized(stoppingAfter: 80)
        return text.count > 80 ? text.prefix(77) + "..." : text
    }
}

/// Members of a JSON object in the order of the text.
package struct JSONObject: Sendable, Hashable {
    package struct Member: Sendable, Hashable {
        package let key: String
        package fileprivate(set) var value: JSONValue
    }

    /// With so many members or fewer, a search is as fast as an index and takes no memory.
    private static let indexedCount = 16

    package private(set) var members: [Member] = []
    /// Index of each key in `members`; empty while these are few.
    private var positions: [String: Int] = [:]

    package init(_ members: [(String, JSONValue)] = []) {
        for (key, value) in members { self[key] = value }
    }

    /// The member's value; nil when there is none. Setting replaces the value in its position, or appends; setting nil
    /// removes, which takes time linear in the number of members.
    package subscript(key: String) -> JSONValue? {
        get { position(of: key).map { members[$0].value } }
        set {
            switch (position(of: key), newValue) {
            case (let position?, let value?): members[position].value = value
            case (_?, nil): self = JSONObject(members.filter { $0.key != key }.map { ($0.key, $0.value) })
            case (nil, let value?): append(Member(key: key, value: value))
            case (nil, nil): break
            }
        }
    }

    private func position(of key: String) -> Int? {
        members.count <= Self.indexedCount ? members.firstIndex { $0.key == key } : positions[key]
    }

    private mutating func append(_ member: Member) {
        members.append(member)
        if members.count == Self.indexedCount + 1 {
            for (position, member) in members.enumerated() { positions[member.key] = position }
        } else if members.count > Self.indexedCount {
            positions[member.key] = members.count - 1
        }
    }
}

/// What to do about a key that occurs twice in one object.
package enum DuplicateKeys: Sendable {
    /// Refuse the text.
    case refused
    /// Take the later member, as Python's `json` does.
    case lastCounts
}

extension JSONReader {
    /// Values in trees, which limits the memory that a hostile text can take to a few hundred megabytes.
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
    /// Reads a whole text, in which no key occurs twice in one object.
    ///
    /// - Throws: ``JSONError``.
    package static func parse(_ bytes: UnsafeRawBufferPointer) throws -> JSONValue {
        var reader = try JSONReader(validating: bytes)
        let value = try reader.readValue(duplicateKeys: .refused)
        try reader.readEnd()
        return value
    }

    /// Reads a whole text, in which no key occurs twice in one object.
    ///
    /// - Throws: ``JSONError``.
    package static func parse(_ data: Data) throws -> JSONValue {
        try data.withUnsafeBytes { try parse($0) }
    }
}

extension JSONValue {
    /// The value as JSON text: compact, or broken into lines with `indentation` spaces per level.
    package func serialized(indentation: Int? = nil) -> String {
        var text = ""
        write(to: &text, indentation: indentation, level: 0)
        return text
    }

    /// The value as compact JSON text, or the beginning of it: at least so many bytes, where there are as many.
    func serialized(stoppingAfter byteCount: Int) -> String {
        var text = ""
        write(to: &text, indentation: nil, level: 0, stoppingAfter: byteCount)
        return text
    }

    private func write(to text: inout String, indentation: Int?, level: Int, stoppingAfter limit: Int = .max) {
        switch self {
        case .null: text += "null"
        case .boolean(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.description
        case .string(let value): Self.writeQuoted(limit == .max ? value : String(value.prefix(limit)), to: &text)
        case .array(let elements):
            text += "["
            for (index, element) in elements.enumerated() where text.utf8.count <= limit {
                if index > 0 { text += "," }
                Self.breakLine(&text, indentation, level + 1)
                element.write(to: &text, indentation: indentation, level: level + 1, stoppingAfter: limit)
            }
            if !elements.isEmpty { Self.breakLine(&text, indentation, level) }
            text += "]"
        case .object(let object):
            text += "{"
            for (index, member) in object.members.enumerated() where text.utf8.count <= limit {
                if index > 0 { text += "," }
                Self.breakLine(&text, indentation, level + 1)
                Self.writeQuoted(member.key, to: &text)
                text += indentation == nil ? ":" : ": "
                member.value.write(to: &text, indentation: indentation, level: level + 1, stoppingAfter: limit)
            }
            if !object.members.isEmpty { Self.breakLine(&text, indentation, level) }
            text += "}"
        }
    }

    private static func breakLine(_ text: inout String, _ indentation: Int?, _ level: Int) {
        guard let indentation else { return }
        text += "\n" + String(repeating: " ", count: indentation * level)
    }

    private static func writeQuoted(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\0"..<" ":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
