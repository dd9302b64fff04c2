import Foundation
import JSON
import ModelFiles

/// The text of a chat template, and where it stands.
package struct ChatTemplateSource {
    package let file: String
    package let text: String

    /// The longest template in use has some 20 kB.
    private static let maximumBytes = 1 << 20

    /// The template of a model directory, and the one for conversations with tools where it has another.
    ///
    /// `chat_template.jinja` goes before `chat_template` of `tokenizer_config.json`, and that before the one of
    /// `chat_template.json`. Beside the first stand others in `additional_chat_templates`; the others may be lists.
    ///
    /// - Throws: `ChatTemplateError`, `TokenizerError`, `FileError`.
    package static func templates(of directory: URL) throws -> (
        standard: ChatTemplateSource, withTools: ChatTemplateSource?
    ) {
        func existing(_ name: String) throws -> URL? {
            let url = directory.appending(path: name)
            return try ModelFile.exists(url) ? url : nil
        }
        if let url = try existing("chat_template.jinja") {
            let withTools = try existing("additional_chat_templates/tool_use.jinja").map(read)
            return (try read(url), withTools)
        }
        for url in try ["tokenizer_config.json", "chat_template.json"].compactMap(existing) {
            let node = try JSONNode(tokenizerFile: url)["chat_template"]
            if !node.isNull { return try templates(in: node) }
        }
        if case .tekken = try TokenizerSource(directory: directory) {
            throw ChatTemplateError.notFoundBesideTekken(directory: directory.path)
        }
        throw ChatTemplateError.notFound(directory: directory.path)
    }

    private static func read(_ url: URL) throws -> ChatTemplateSource {
        guard let text = String(validating: try readSmallFile(url, limit: maximumBytes), as: UTF8.self) else {
            throw ChatTemplateError.malformed(file: url.path, reason: "not valid UTF-8")
        }
        return ChatTemplateSource(file: url.path, text: text)
    }

    /// A template, or those called `default` and `tool_use` of several.
    private static func templates(
        in node: JSONNode
    ) throws -> (standard: ChatTemplateSource, withTools: ChatTemplateSource?) {
        guard case .array = node.value else {
            return (ChatTemplateSource(file: node.file, text: try node.string()), nil)
        }
        var templates: [String: ChatTemplateSource] = [:]
        var names: [String] = []
        for element in try node.elements() {
            let name = try element["name"].string()
            names.append(name)
            templates[name] = ChatTemplateSource(file: node.file, text: try element["template"].string())
        }
        guard let standard = templates["default"] else {
            throw ChatTemplateError.noDefault(file: node.file, names: names)
        }
        return (standard, templates["tool_use"])
    }
}
