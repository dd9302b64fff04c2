import Foundation
import JSON
import ModelDescription
import TensorFiles

/// A JSON value together with where it stands, so that every complaint can name file and key.
struct JSONNode {
    let file: String
    let value: JSONValue
    private let place: Place

    /// The way to a node, a step at a time: spelled out at every element of an array, keys that a file chose would take
    /// memory that grows with the square of its size.
    private indirect enum Place {
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

    private init(file: String, value: JSONValue, place: Place) {
        self.file = file
        self.value = value
        self.place = place
    }

    /// The node at the top of what is read; `path` is what it is called in the file.
    init(file: String, path: String, value: JSONValue) {
        self.init(file: file, value: value, place: .root(path))
    }

    /// Where this stands, such as `model.merges[17]`.
    var path: String { place.path }

    var isNull: Bool { if case .null = value { true } else { false } }

    /// The member `key` of an object; null where there is none.
    subscript(key: String) -> JSONNode {
        let member: JSONValue? = if case .object(let object) = value { object[key] } else { nil }
        return JSONNode(file: file, value: member ?? .null, place: .member(key, of: place))
    }

    /// The elements of an array.
    func elements() throws -> [JSONNode] {
        guard case .array(let elements) = value else { throw mismatch("an array") }
        return elements.enumerated().map { index, element in
            JSONNode(file: file, value: element, place: .element(index, of: place))
        }
    }

    /// The members of an object, in their order.
    func members() throws -> [(key: String, node: JSONNode)] {
        guard case .object(let object) = value else { throw mismatch("an object") }
        return object.members.map { member in
            (member.key, JSONNode(file: file, value: member.value, place: .member(member.key, of: place)))
        }
    }

    func string() throws -> String {
        guard case .string(let string) = value else { throw mismatch("a string") }
        return string
    }

    func integer() throws -> Int {
        guard case .integer(let integer) = value else { throw mismatch("an integer") }
        return integer
    }

    func boolean() throws -> Bool {
        guard case .boolean(let boolean) = value else { throw mismatch("true or false") }
        return boolean
    }

    /// The boolean, or `standard` where the key is missing or null.
    func boolean(default standard: Bool) throws -> Bool {
        isNull ? standard : try boolean()
    }

    /// The `type` member that names a component.
    func type() throws -> String {
        guard case .object = value else { throw mismatch("an object") }
        return try self["type"].string()
    }

    /// What stands here, for an error message.
    var found: String {
        switch value {
        case .array: "an array"
        case .object: "an object"
        case .string(let text): "\"\(text.prefix(64))\""
        case .null, .boolean, .integer, .number: value.summary
        }
    }

    func mismatch(_ expected: String) -> TokenizerError {
        malformed("expected \(expected), found \(found)")
    }

    func malformed(_ reason: String) -> TokenizerError {
        .malformed(file: file, key: path, reason: reason)
    }

    func unsupported(_ found: String, supported: String) -> TokenizerError {
        .unsupported(file: file, key: path, found: found, supported: supported)
    }
}

/// Reads the JSON file at `url` whole, as a tree. Of two equal keys the later one counts.
func readJSONTree(at url: URL) throws -> JSONNode {
    let data = try readTokenizerFile(at: url)
    let value = try withJSONReader(of: data, file: url.path) { reader in
        let value = try reader.readValue(duplicateKeys: .lastCounts)
        try reader.readEnd()
        return value
    }
    return JSONNode(file: url.path, path: "", value: value)
}
