import Foundation
import JSON
import Jinja
import TestSupport
import Testing

/// The interpreter against jinja2 3.1.6 in the environment of transformers: the templates of real models, and small ones for
/// what the language has. `data/chat_templates/README.md` of the reference data says how it was computed.
@Suite(
    "Jinja beside jinja2",
    .enabled(if: SharedData.isPresent, "the reference data (../shared) is not there")
)
struct JinjaConformanceTests {
    private static let folder = SharedData.url("data/chat_templates")

    @Test("Every expression gives what jinja2 gives, or an error of the same kind")
    func expressions() throws {
        var lines = try JSONLines(contentsOf: Self.folder.appending(path: "expressions.jsonl.gz"))
        var count = 0
        while let node = try lines.next() {
            let golden = try JinjaGolden(node, name: node["name"].string(), source: node["source"].string())
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
            let golden = try JinjaGolden(node, name: "\(name), \(node["case"].string())", source: "")
            let difference = try golden.difference(#require(templates[name]))
            #expect(difference == nil)
            count += 1
        }
        #expect(count > 800)
    }
}
