import Foundation
import JSON
import TestSupport
import Testing

@testable import Jinja

/// The interpreter against jinja2 3.1.6 in the environment of transformers: the templates of real models, and small ones for
/// what the language has. `data/chat_templates/README.md` of the reference data says how it was computed.
@Suite(
    "Jinja beside jinja2",
    .enabled(if: SharedData.isPresent, "the reference data (../shared) is not there")
)
struct JinjaConformanceTests {
    private static let folder = SharedData.url("data/chat_templates")
    /// The clock of the reference data: noon, without a zone.
    private static let clock = Clock(date: Date(timeIntervalSince1970: 1_795_608_000), timeZone: .gmt)

    /// What was computed for a template and a context.
    private struct Golden: Sendable {
        let name: String
        let source: String
        let context: [String: ContextValue]
        let whitespace: WhitespaceControl
        let rendered: String?
        let errorKind: String
        let errorMessage: String
        let generations: [Range<Int>]

        init(_ node: JSONNode, name: String, source: String) throws {
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
        func difference(_ template: Result<Template, any Error>) -> String? {
            do {
                let rendering = try template.get().render(context, clock: JinjaConformanceTests.clock)
                guard let rendered else { return "\(name): \(rendering.text.debugDescription) instead of \(errorKind)" }
                guard rendering.text.unicodeScalars.elementsEqual(rendered.unicodeScalars) else {
                    return "\(name): \(rendering.text.debugDescription) instead of \(rendered.debugDescription)"
                }
                guard generations.isEmpty || rendering.generations == generations else {
                    return "\(name): generations \(rendering.generations) instead of \(generations)"
                }
                return nil
            } catch let error as TemplateError {
                guard JinjaConformanceTests.kinds[error.kind] == errorKind else {
                    return
                        "\(name): \(error.kind) (\(error.message)) instead of \(rendered.debugDescription) \(errorKind)"
                }
                return error.kind == .raised && error.message != errorMessage ? "\(name): \(error.message)" : nil
            } catch {
                return "\(name): \(error)"
            }
        }
    }

    private static let kinds: [TemplateError.Kind: String] = [
        .syntax: "syntax", .undefined: "undefined", .type: "type", .value: "value", .zeroDivision: "zero_division",
        .overflow: "overflow", .security: "security", .argument: "argument", .runtime: "runtime",
        .raised: "raise_exception", .recursion: "recursion", .other: "other",
    ]

    @Test("Every expression gives what jinja2 gives, or an error of the same kind")
    func expressions() throws {
        var lines = try JSONLines(contentsOf: Self.folder.appending(path: "expressions.jsonl.gz"))
        var count = 0
        while let node = try lines.next() {
            let golden = try Golden(node, name: node["name"].string(), source: node["source"].string())
            let template = Result { try Template(golden.source, name: golden.name, whitespace: golden.whitespace) }
            let difference = golden.difference(template)
            #expect(difference == nil)
            count += 1
        }
        #expect(count == 693)
    }

    @Test("Every template of a real model renders as with jinja2, spans of generation included", arguments: 0..<4)
    func templates(share: Int) throws {
        let index = try JSONNode(contentsOf: Self.folder.appending(path: "index.json"))
        let entries = try index["templates"].elements()
        let files = Dictionary(
            uniqueKeysWithValues: try entries.map { (try $0["name"].string(), try $0["file"].string()) })
        let names = Set(files.keys.sorted().enumerated().filter { $0.offset % 4 == share }.map(\.element))
        var templates: [String: Result<Template, any Error>] = [:]
        var lines = try JSONLines(contentsOf: Self.folder.appending(path: "renderings.jsonl.gz"))
        var count = 0
        while let node = try lines.next() {
            let name = try node["template"].string()
            guard names.contains(name), let file = files[name] else { continue }
            if templates[name] == nil {
                let data = try Data(contentsOf: Self.folder.appending(path: "templates/\(file)"))
                templates[name] = Result { try Template(String(decoding: data, as: UTF8.self), name: name) }
            }
            let golden = try Golden(node, name: "\(name), \(node["case"].string())", source: "")
            let difference = try golden.difference(#require(templates[name]))
            #expect(difference == nil)
            count += 1
        }
        #expect(count > 800)
    }
}
