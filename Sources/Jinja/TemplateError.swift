// Jinja: an interpreter of Jinja templates, in the environment that transformers renders chat templates in. Strings remember
// which of their parts the template wrote and which came from outside. May import JSON.

import Foundation

/// Why a template cannot be read or rendered, and where in it.
///
/// A template is a program of foreign authors: whatever it does, this is the worst that comes of it.
public struct TemplateError: LocalizedError, Sendable, Hashable {
    /// What went wrong. Most are the exceptions of jinja2 and Python.
    public enum Kind: String, Sendable, Hashable {
        /// The template is not Jinja, or names a tag, filter or test that there is not.
        case syntax
        /// Something undefined is used where a value is needed.
        case undefined
        /// Operands or arguments of wrong types: Python's `TypeError`.
        case type
        /// Arguments of wrong values: Python's `ValueError`.
        case value
        case zeroDivision
        /// A number or a range that is too large: Python's `OverflowError`.
        case overflow
        /// The sandbox forbids it: a change of a list or dictionary, or a name that begins with an underscore.
        case security
        /// A filter got an argument that it does not know.
        case argument
        /// Other errors of jinja2 at run time.
        case runtime
        /// The template itself refused, by `raise_exception`.
        case raised
        /// Macros, loops or values are nested too deeply.
        case recursion
        /// The rendering takes more steps, text or memory than its ``RenderingLimits`` allow.
        case limit
        /// Another exception of Python.
        case other
    }

    public let kind: Kind
    /// What was found, and what was expected.
    public let message: String
    /// What the template is called: its file, as a rule.
    public internal(set) var template = ""
    /// The line in the template, from 1; 0 where it is not known.
    public internal(set) var line = 0
    /// The character of the line, from 1; 0 where it is not known.
    public internal(set) var column = 0

    init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    public var errorDescription: String? {
        let place = line == 0 ? template : "\(template):\(line):\(column)"
        return place.isEmpty ? message : "\(place): \(message)"
    }

    static func type(_ message: String) -> TemplateError { TemplateError(.type, message) }
    static func value(_ message: String) -> TemplateError { TemplateError(.value, message) }
}

/// What a rendering may take at most. The templates of models need a hundredth of the standard limits.
public struct RenderingLimits: Sendable, Hashable {
    /// Steps of evaluation, and of work on long texts and lists.
    public var steps = 10_000_000
    /// Nested expressions, statements and calls of macros.
    public var depth = 400
    /// Characters of the output, and of any text on the way to it.
    public var textLength = 4 << 20
    /// Elements of any list on the way.
    public var elementCount = 1 << 20

    public init() {}
}
