import Foundation
import JSON
import ModelDescription
import TensorFiles

/// The JSON object that describes a task.
struct TaskFile {
    private static let keys = ["name", "data", "context", "choices", "answer", "labels", "delimiter", "metric"]

    private let path: String
    private let object: JSONObject

    /// - Throws: ``TaskFileError``, `FileError`
    init(contentsOf url: URL) throws {
        path = url.path
        let data = try readSmallFile(url, limit: 1 << 20)
        do {
            guard case .object(let object) = try JSONValue.parse(data) else {
                throw TaskFileError(file: url.path, key: "", reason: "expected a JSON object")
            }
            self.object = object
        } catch let error as JSONError {
            throw TaskFileError(file: url.path, key: "", reason: error.errorDescription ?? error.reason)
        }
        if let unknown = object.members.first(where: { !Self.keys.contains($0.key) }) {
            throw malformed(unknown.key, "no such key; a task has \(Self.keys.joined(separator: ", "))")
        }
    }

    func value(_ key: String) -> JSONValue? { object[key] }

    func string(_ key: String) throws -> String {
        guard case .string(let text)? = object[key], !text.isEmpty else { throw mismatch(key, "a string") }
        return text
    }

    func optionalString(_ key: String) throws -> String? {
        switch object[key] {
        case nil: nil
        case .string(let text)?: text
        default: throw mismatch(key, "a string")
        }
    }

    func strings(_ key: String) throws -> [String] {
        guard case .array(let elements)? = object[key], !elements.isEmpty else {
            throw mismatch(key, "a list of strings")
        }
        return try elements.map {
            guard case .string(let text) = $0 else { throw mismatch(key, "a list of strings") }
            return text
        }
    }

    func template(_ key: String) throws -> PromptTemplate { try template(of: try string(key), key: key) }

    func templates(_ key: String) throws -> [PromptTemplate] {
        try strings(key).map { try template(of: $0, key: key) }
    }

    func mismatch(_ key: String, _ expected: String) -> TaskFileError {
        malformed(key, "expected \(expected), found \(object[key]?.summary ?? "nothing")")
    }

    private func malformed(_ key: String, _ reason: String) -> TaskFileError {
        TaskFileError(file: path, key: key, reason: reason)
    }

    private func template(of text: String, key: String) throws -> PromptTemplate {
        do {
            return try PromptTemplate(text)
        } catch let error as PromptTemplate.Malformed {
            throw malformed(key, error.reason)
        }
    }
}

/// A file that describes no task.
public struct TaskFileError: LocalizedError, Sendable, Equatable {
    public let file: String
    /// Empty where it is the whole file.
    public let key: String
    public let reason: String

    public var errorDescription: String? { "\(file)\(key.isEmpty ? "" : ", key \"\(key)\""): \(reason)." }
}
