import Foundation

/// A JSON value together with its location, so that every error names file, line and key.
///
/// The one way in which files are read key by key: configurations, tokenizers, corpora, tasks. Getters throw
/// ``JSONNodeError`` where the value is of another kind, missing or null; ``nonNull`` turns the latter two into nil:
///
///     let width = try config["hidden_size"].integer(in: 1...1 << 18)
///     let isTied = try config["tie_word_embeddings"].nonNull?.boolean() ?? false
package struct JSONNode: Sendable {
    /// Path of the file.
    package let file: String
    /// Line of a file of JSON lines, counted from one; nil in other files.
    package let line: Int?
    /// The value; nil where the key is missing.
    package let value: JSONValue?
    private let place: Place

    /// The way to a node, a step at a time. Spelled out at every element of an array, keys that a file chose would take
    /// memory that grows with the square of its size.
    private indirect enum Place: Sendable {
        case root(String)
        case member(String, of: Place)
        case element(Int, of: Place)

        var path: String {
            switch self {
            case .root(let name): name
            case .member(let key, of: .root("")): key
            case .member(let key, of: let place): "\(place.path).\(key)"
            case .element(let index, of: let place): "\(place.path)[\(index)]"
            }
        }
    }

    private init(_ value: JSONValue?, file: String, line: Int?, place: Place) {
        self.value = value
        self.file = file
        self.line = line
        self.place = place
    }

    /// A node that no other leads to.
    ///
    /// - Parameter path: what the value is called in its file; empty for the whole of it.
    package init(_ value: JSONValue?, file: String, line: Int? = nil, path: String = "") {
        self.init(value, file: file, line: line, place: .root(path))
    }

    /// Reads a whole text.
    ///
    /// - Throws: ``JSONNodeError`` where it is not JSON.
    package init(
        parsing bytes: UnsafeRawBufferPointer, file: String, line: Int? = nil, duplicateKeys: DuplicateKeys = .refused
    ) throws {
        do {
            var reader = try JSONReader(validating: bytes)
            let value = try reader.readValue(duplicateKeys: duplicateKeys)
            try reader.readEnd()
            self.init(value, file: file, line: line)
        } catch let error as JSONError {
            throw JSONNodeError(file: file, line: line, key: "", problem: .malformed(error.localizedDescription))
        }
    }

    /// Reads a file whole.
    ///
    /// - Parameter limit: bytes that it may have.
    /// - Throws: ``FileError``, ``JSONNodeError`` where it is not JSON.
    package init(contentsOf url: URL, duplicateKeys: DuplicateKeys = .refused, limit: Int = 64 << 20) throws {
        let data = try readSmallFile(url, limit: limit)
        self = try data.withUnsafeBytes {
            try JSONNode(parsing: $0, file: url.path, duplicateKeys: duplicateKeys)
        }
    }

    // MARK: Walking

    /// Path of the key, such as `model.merges[17]`; empty for the whole of a file or line.
    package var path: String { place.path }

    package var isMissing: Bool { value == nil }

    /// Whether the key is missing or its value null.
    package var isNull: Bool {
        switch value {
        case nil, .null?: true
        default: false
        }
    }

    /// This node; nil where the key is missing or its value null.
    package var nonNull: JSONNode? { isNull ? nil : self }

    /// The member `key` of an object; a missing node where there is none, or where this is no object.
    package subscript(key: String) -> JSONNode {
        let member: JSONValue? = if case .object(let object) = value { object[key] } else { nil }
        return JSONNode(member, file: file, line: line, place: .member(key, of: place))
    }

    /// The elements of an array.
    package func elements() throws -> [JSONNode] {
        guard case .array(let elements) = value else { throw mismatch("an array") }
        return elements.enumerated().map { index, element in
            JSONNode(element, file: file, line: line, place: .element(index, of: place))
        }
    }

    /// The members of an object, in their order.
    package func members() throws -> [(key: String, node: JSONNode)] {
        try object().members.map { member in
            (member.key, JSONNode(member.value, file: file, line: line, place: .member(member.key, of: place)))
        }
    }

    // MARK: Values

    package func object() throws -> JSONObject {
        guard case .object(let object) = value else { throw mismatch("an object") }
        return object
    }

    package func string() throws -> String {
        guard case .string(let string) = value else { throw mismatch("a string") }
        return string
    }

    package func boolean() throws -> Bool {
        guard case .boolean(let boolean) = value else { throw mismatch("true or false") }
        return boolean
    }

    package func integer() throws -> Int {
        guard case .integer(let integer) = value else { throw mismatch("an integer") }
        return integer
    }

    package func integer(in bounds: ClosedRange<Int>) throws -> Int {
        guard case .integer(let integer) = value, bounds.contains(integer) else {
            throw mismatch("an integer from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return integer
    }

    /// A number, whole or not.
    package func number() throws -> Double {
        switch value {
        case .number(let number): return number
        case .integer(let integer): return Double(integer)
        default: throw mismatch("a number")
        }
    }

    /// The strings of an array.
    package func strings() throws -> [String] { try elements().map { try $0.string() } }

    /// The integers of an array.
    package func integers() throws -> [Int] {
        guard case .array(let elements) = value else { throw mismatch("an array") }
        return try elements.indices.map { index in
            guard case .integer(let integer) = elements[index] else {
                throw JSONNode(elements[index], file: file, line: line, place: .element(index, of: place))
                    .mismatch("an integer")
            }
            return integer
        }
    }

    // MARK: Errors

    /// An error about the kind of the value: what was expected, and what was found.
    package func mismatch(_ expected: String) -> JSONNodeError {
        error(isMissing ? .missing(expected: expected) : .mismatch(expected: expected, found: found))
    }

    /// An error that says why the value cannot be right.
    package func malformed(_ reason: String) -> JSONNodeError { error(.malformed(reason)) }

    /// An error about a value that is well formed, but not supported.
    package func unsupported(supported: String) -> JSONNodeError {
        error(.unsupported(found: value?.summary ?? "missing", supported: supported))
    }

    private func error(_ problem: JSONNodeError.Problem) -> JSONNodeError {
        JSONNodeError(file: file, line: line, key: path, problem: problem)
    }

    /// The value, for an error about its kind.
    private var found: String {
        switch value {
        case nil: "nothing"
        case .array?: "an array"
        case .object?: "an object"
        case let value?: value.summary
        }
    }
}

/// What is wrong with a value of a JSON file, and where: file, line, key path.
public struct JSONNodeError: LocalizedError, Sendable, Equatable {
    public enum Problem: Sendable, Equatable {
        /// Not JSON, or a value that contradicts others.
        case malformed(String)
        /// There is no such key.
        case missing(expected: String)
        /// A value of another kind, or out of bounds.
        case mismatch(expected: String, found: String)
        /// A value that is well formed, but not supported by this version.
        case unsupported(found: String, supported: String)
    }

    /// Path of the file.
    public let file: String
    /// Line of a file of JSON lines, counted from one.
    public let line: Int?
    /// Path of the key, such as `rope_scaling.factor`; empty where the whole of the file or line is meant.
    public let key: String
    public let problem: Problem

    package init(file: String, line: Int? = nil, key: String, problem: Problem) {
        self.file = file
        self.line = line
        self.key = key
        self.problem = problem
    }

    /// The problem without its location.
    public var reason: String {
        switch problem {
        case .malformed(let reason): reason
        case .missing(let expected): "missing; expected \(expected)"
        case .mismatch(let expected, let found): "expected \(expected), found \(found)"
        case .unsupported(let found, let supported): "found \(found); this version supports \(supported) only"
        }
    }

    public var errorDescription: String? {
        let line = line.map { ", line \($0)" } ?? ""
        return "\(file)\(line): \(key.isEmpty ? "" : "\"\(key)\": ")\(reason)."
    }
}
