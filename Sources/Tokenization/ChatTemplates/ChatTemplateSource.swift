import Foundation

/// The text of a model's chat template, and the file that it stands in.
struct ChatTemplateSource {
    let file: String
    let text: String

    /// The longest template in use has some 15 kB.
    private static let maximumBytes = 1 << 20

    /// The template of a model directory: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`, else that of
    /// `chat_template.json`.
    init(directory: URL) throws {
        func existing(_ name: String) -> URL? {
            let url = directory.appending(path: name)
            return FileManager.default.fileExists(atPath: url.path) ? url : nil
        }
        if let url = existing("chat_template.jinja") {
            guard let text = String(validating: try readTokenizerFile(at: url, limit: Self.maximumBytes), as: UTF8.self)
            else {
                throw ChatTemplateError.malformed(file: url.path, reason: "not valid UTF-8")
            }
            self.init(file: url.path, text: text)
            return
        }
        for url in ["tokenizer_config.json", "chat_template.json"].compactMap(existing) {
            let node = try readJSONTree(at: url)["chat_template"]
            if node.isNull { continue }
            self.init(file: url.path, text: try Self.text(of: node))
            return
        }
        throw ChatTemplateError.notFound(directory: directory.path)
    }

    init(file: String, text: String) {
        self.file = file
        self.text = text
    }

    /// A template, or the one called `default` of several.
    private static func text(of node: JSONNode) throws -> String {
        guard case .array = node.value else { return try node.string() }
        var names: [String] = []
        for element in try node.elements() {
            let name = try element["name"].string()
            if name == "default" { return try element["template"].string() }
            names.append(name)
        }
        throw ChatTemplateError.noDefault(file: node.file, names: names)
    }
}
