import Foundation
import JSON
import Jinja

/// What was computed for a template and a context.
package struct JinjaGolden: Sendable {
    /// The clock of the goldens: noon, without a zone.
    private static let clock = Clock(date: Date(timeIntervalSince1970: 1_795_608_000), timeZone: .gmt)
    private static let kinds: [TemplateError.Kind: String] = [
        .syntax: "syntax", .undefined: "undefined", .type: "type", .value: "value", .zeroDivision: "zero_division",
        .overflow: "overflow", .security: "security", .argument: "argument", .runtime: "runtime",
        .raised: "raise_exception", .recursion: "recursion", .other: "other",
    ]

    package let name: String
    package let source: String
    let context: [String: ContextValue]
    package let whitespace: WhitespaceControl
    let rendered: String?
    let errorKind: String
    let errorMessage: String
    let generations: [Range<Int>]

    /// Reads a line of a file of goldens.
    package init(_ node: JSONNode, name: String, source: String) throws {
        self.name = name
        self.source = source
        context = Dictionary(
            try node["context"].members().map {
                ($0.key, $0.node.value.map { ContextValue($0) } ?? ContextValue.none)
            }, uniquingKeysWith: { $1 })
        var whitespace = WhitespaceControl()
        whitespace.trimsBlocks = try node["env"]["trim_blocks"].nonNull?.boolean() ?? true
        whitespace.stripsBlocks = try node["env"]["lstrip_blocks"].nonNull?.boolean() ?? true
        self.whitespace = whitespace
        let error = node["error"]
        rendered = error.isNull ? try node["rendered"].string() : nil
        errorKind = error.isNull ? "" : try error["kind"].string()
        errorMessage = error.isNull ? "" : try error["message"].string()
        generations =
            node["generation"].isNull
            ? []
            : try node["generation"].elements().map {
                let bounds = try $0.elements()
                return try bounds[0].integer()..<bounds[1].integer()
            }
    }

    /// What is otherwise than computed; nil if nothing is.
    package func difference(_ template: Result<Template, any Error>) -> String? {
        do {
            let rendering = try template.get().render(context, clock: Self.clock)
            guard let rendered else { return "\(name): \(rendering.text.debugDescription) instead of \(errorKind)" }
            guard rendering.text.unicodeScalars.elementsEqual(rendered.unicodeScalars) else {
                return "\(name): \(rendering.text.debugDescription) instead of \(rendered.debugDescription)"
            }
            guard generations.isEmpty || rendering.generations == generations else {
                return "\(name): generations \(rendering.generations) instead of \(generations)"
            }
            return nil
        } catch let error as TemplateError {
            guard Self.kinds[error.kind] == errorKind else {
                return
                    "\(name): \(error.kind) (\(error.message)) instead of \(rendered.debugDescription) \(errorKind)"
            }
            return error.kind == .raised && error.message != errorMessage ? "\(name): \(error.message)" : nil
        } catch {
            return "\(name): \(error)"
        }
    }
}
