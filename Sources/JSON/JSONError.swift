import Foundation

/// What is wrong with a JSON text, and where.
package struct JSONError: LocalizedError, Sendable, Equatable {
    package enum Problem: Sendable, Equatable {
        /// Not JSON, or JSON of another kind than what is being read.
        case syntax(String)
        case notUTF8
        case duplicateKey(String)
        case tooDeep(limit: Int)
        case tooManyValues(limit: Int)
        /// A character of more combining marks than any script puts on one.
        case tooManyMarks(limit: Int)
    }

    package let problem: Problem
    /// The byte at which the reader stopped.
    package let offset: Int

    /// The problem without its place.
    package var reason: String {
        switch problem {
        case .syntax(let reason): reason
        case .notUTF8: "not valid UTF-8, so not JSON"
        case .duplicateKey(let key): "the key \"\(key)\" stands twice"
        case .tooDeep(let limit): "nested deeper than \(limit) levels"
        case .tooManyValues(let limit): "more than \(limit) values"
        case .tooManyMarks(let limit): "more than \(limit) combining marks in a row"
        }
    }

    package var errorDescription: String? {
        if case .syntax(let reason) = problem { return "not JSON: \(reason) (byte \(offset))" }
        return "\(reason) (byte \(offset))"
    }
}
