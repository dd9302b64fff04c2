import Foundation
import JSON

/// A variable that a template sees: what JSON can say, with the origin of each text.
public enum ContextValue: Sendable, Hashable {
    case none
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case string(String, origin: Origin)
    case array([ContextValue])
    /// Members in order, which templates may print. Of equal keys the last counts.
    case dictionary([Member])

    public struct Member: Sendable, Hashable {
        public let key: String
        public let value: ContextValue

        public init(key: String, value: ContextValue) {
            self.key = key
            self.value = value
        }
    }
}

extension ContextValue {
    /// Reads JSON. All its texts are of one origin.
    ///
    /// - Throws: an error that says where the text is no JSON.
    public init(json: String, origin: Origin = .input) throws {
        self.init(try JSONValue.parse(Data(json.utf8)), origin: origin)
    }

    /// Takes over JSON. All its texts are of one origin.
    package init(_ json: JSONValue, origin: Origin = .input) {
        switch json {
        case .null: self = .none
        case .boolean(let value): self = .boolean(value)
        case .integer(let value): self = .integer(value)
        case .number(let value): self = .number(value)
        case .string(let text): self = .string(text, origin: origin)
        case .array(let elements): self = .array(elements.map { ContextValue($0, origin: origin) })
        case .object(let object):
            self = .dictionary(
                object.members.map { Member(key: $0.key, value: ContextValue($0.value, origin: origin)) })
        }
    }
}

extension Value {
    /// - Throws: `TemplateError` where values are nested too deeply.
    init(_ value: ContextValue, depth: Int = 0) throws {
        guard depth < Self.maximumDepth else {
            throw TemplateError(.recursion, "a variable is nested more than \(Self.maximumDepth) deep")
        }
        switch value {
        case .none: self = .none
        case .boolean(let value): self = .boolean(value)
        case .integer(let value): self = .integer(value)
        case .number(let value): self = .float(value)
        case .string(let text, let origin): self = .string(text, origin: origin)
        case .array(let elements): self = try .list(elements.map { try Value($0, depth: depth + 1) })
        case .dictionary(let members):
            var entries = Entries()
            for member in members {
                entries[.string(member.key, origin: .input)] = try Value(member.value, depth: depth + 1)
            }
            self = try .dictionary(entries)
        }
    }
}
