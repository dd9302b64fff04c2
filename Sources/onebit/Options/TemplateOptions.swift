import ArgumentParser
import Foundation
import JSON
import Jinja
import Tokenization

/// What a model's chat template sees beside the messages.
struct TemplateOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("File of the tools that the model may call: a JSON array of schemas.", valueName: "file"))
    var tools: URL?

    @Option(help: ArgumentHelp("File of documents to answer from: a JSON array of objects.", valueName: "file"))
    var documents: URL?

    @Option(
        help: ArgumentHelp(
            "Variables of the model's chat template, as a JSON object: '{\"enable_thinking\": false}'.",
            valueName: "json"))
    var templateArguments: String?

    /// - Throws: `JSONNodeError` for what is not JSON of the right form, `ChatTemplateError` for variables that have a
    ///   meaning already, `FileError` for a file that cannot be read.
    func arguments() throws -> ChatTemplate.Arguments {
        try ChatTemplate.Arguments(
            tools: tools.map(Self.list), documents: documents.map(Self.list), variables: variables())
    }

    private static func list(_ file: URL) throws -> [ContextValue] {
        try JSONNode(contentsOf: file).elements().map { element in
            // Templates walk the members of each.
            _ = try element.members()
            return element.value.map { ContextValue($0) } ?? ContextValue.none
        }
    }

    private func variables() throws -> [String: ContextValue] {
        guard let templateArguments else { return [:] }
        let node = try Data(templateArguments.utf8).withUnsafeBytes {
            try JSONNode(parsing: $0, file: "--template-arguments")
        }
        let members = try node.members().map { ($0.key, $0.node.value.map { ContextValue($0) } ?? ContextValue.none) }
        return Dictionary(members) { $1 }
    }
}
