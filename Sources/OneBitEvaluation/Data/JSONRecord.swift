import Foundation
import JSON
import ModelDescription
import TensorFiles

/// An object of a JSON lines file with the place where it stands, so that every complaint can name it.
struct JSONRecord {
    let file: String
    let line: Int
    /// Keys that lead to the object, with a dot behind each; empty for a line's own object.
    private let path: String
    private let object: JSONObject

    private init(file: String, line: Int, path: String, object: JSONObject) {
        self.file = file
        self.line = line
        self.path = path
        self.object = object
    }

    /// - Throws: ``TaskDataError/malformedItem(file:line:key:reason:)``
    init(parsing data: Data, file: String, line: Int) throws {
        func malformed(_ reason: String) -> TaskDataError {
            .malformedItem(file: file, line: line, key: "", reason: reason)
        }
        do {
            guard case .object(let object) = try JSONValue.parse(data) else {
                throw malformed("expected a JSON object")
            }
            self.init(file: file, line: line, path: "", object: object)
        } catch let error as JSONError {
            throw malformed(error.errorDescription ?? error.reason)
        }
    }

    /// The value of a key; nil where there is none or null.
    func value(_ key: String) -> JSONValue? {
        let value = object[key]
        return value == .null ? nil : value
    }

    func string(_ key: String) throws -> String {
        guard case .string(let text)? = value(key) else { throw mismatch(key, "a string") }
        return text
    }

    func strings(_ key: String) throws -> [String] {
        guard case .array(let elements)? = value(key) else { throw mismatch(key, "an array of strings") }
        return try elements.map {
            guard case .string(let text) = $0 else { throw mismatch(key, "an array of strings") }
            return text
        }
    }

    /// A whole number, also one that is written as a string: data sets are of two minds about labels.
    func integer(_ key: String) throws -> Int {
        switch value(key) {
        case .integer(let number)?: return number
        case .string(let text)?:
            if let number = Int(text) { return number }
            fallthrough
        default: throw mismatch(key, "a whole number")
        }
    }

    func object(_ key: String) throws -> JSONRecord {
        guard case .object(let member)? = value(key) else { throw mismatch(key, "an object") }
        return JSONRecord(file: file, line: line, path: path + key + ".", object: member)
    }

    func objects(_ key: String) throws -> [JSONRecord] {
        guard case .array(let elements)? = value(key) else { throw mismatch(key, "an array of objects") }
        return try elements.enumerated().map { index, element in
            guard case .object(let member) = element else { throw mismatch(key, "an array of objects") }
            return JSONRecord(file: file, line: line, path: "\(path)\(key)[\(index)].", object: member)
        }
    }

    func malformed(_ key: String, _ reason: String) -> TaskDataError {
        .malformedItem(file: file, line: line, key: path + key, reason: reason)
    }

    func mismatch(_ key: String, _ expected: String) -> TaskDataError {
        malformed(key, "expected \(expected), found \(value(key)?.summary ?? "nothing")")
    }
}
