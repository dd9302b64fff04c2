import Foundation

/// A Jinja template, read once and rendered as often as needed.
///
/// Templates are read and rendered as Hugging Face's `apply_chat_template` does it: jinja2 in its immutable sandbox, with
/// `trim_blocks` and `lstrip_blocks`, `break` and `continue`, `generation`, `tojson`, `raise_exception` and `strftime_now`.
public struct Template: Sendable {
    /// What the template is called in errors: its file, as a rule.
    public let name: String
    private let source: String
    private let tree: UncheckedTree

    /// Reads a template.
    ///
    /// - Throws: ``TemplateError``, of the kind `syntax`, with line and column.
    public init(_ source: String, name: String = "template") throws {
        try self.init(source, name: name, whitespace: WhitespaceControl())
    }

    /// Reads a template with other rules for white space than transformers has.
    package init(_ source: String, name: String = "template", whitespace: WhitespaceControl) throws {
        self.name = name
        self.source = source
        do {
            tree = UncheckedTree(tree: try Parser.parse(Lexer.normalized(source), control: whitespace))
        } catch let error as SyntaxError {
            throw Self.located(TemplateError(.syntax, error.message), at: error.position, in: source, of: name)
        }
    }

    /// Renders the template.
    ///
    /// - Parameters:
    ///   - context: the variables that the template sees.
    ///   - clock: what `strftime_now` says.
    ///   - limits: what the rendering may take.
    /// - Throws: ``TemplateError``.
    public func render(
        _ context: [String: ContextValue], clock: Clock = Clock(), limits: RenderingLimits = RenderingLimits()
    ) throws(TemplateError) -> Rendering {
        let values: [String: Value]
        do {
            values = try context.mapValues { try Value($0) }
        } catch {
            throw Self.templateError(error, of: name)
        }
        let renderer = Renderer(tree.tree, context: values, limits: limits, clock: clock)
        do {
            try renderer.render()
        } catch {
            throw Self.located(Self.templateError(error, of: name), at: renderer.position, in: source, of: name)
        }
        return Rendering(output: renderer.output, generations: renderer.generations)
    }

    /// Variables and functions that every template has, whatever it is given.
    public static let environmentNames: Set<String> = Globals.names.union(["self", "super", "loop", "caller"])

    private static func templateError(_ error: any Error, of name: String) -> TemplateError {
        // Nothing else is thrown while a template is rendered.
        var error = error as? TemplateError ?? TemplateError(.other, error.localizedDescription)
        error.template = name
        return error
    }

    /// An error with its line and column.
    private static func located(
        _ error: TemplateError, at position: Int, in source: String, of name: String
    ) -> TemplateError {
        let before = Lexer.normalized(source).prefix(position)
        var error = error
        error.template = name
        error.line = 1 + before.count { $0 == 0x0A }
        error.column = 1 + before.reversed().prefix { $0 != 0x0A }.count
        return error
    }
}

/// A tree is not changed once it is read. Its values are texts and numbers: none of them has a state.
private struct UncheckedTree: @unchecked Sendable {
    let tree: SyntaxTree
}

/// What a template wrote.
public struct Rendering: Sendable, Hashable {
    /// A piece of the output, and where it comes from.
    public struct Part: Sendable, Hashable {
        public let text: String
        public let origin: Origin
    }

    /// The output in pieces of one origin each.
    public let parts: [Part]
    /// What stands between `{% generation %}` and its end: ranges of Unicode scalars of ``text``.
    public let generations: [Range<Int>]

    init(output: TemplateString, generations: [Range<Int>]) {
        parts = output.parts.map { Part(text: $0.text, origin: $0.origin) }
        self.generations = generations
    }

    /// The output.
    public var text: String { parts.map(\.text).joined() }
}
