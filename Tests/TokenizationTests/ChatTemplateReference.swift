import Foundation
import Testing

@testable import Tokenization

/// What `scripts/reference/chat_templates.py` rendered, with jinja2 3.1.6.
struct ChatTemplateReference: Decodable, Sendable {
    struct Template: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let template: String
        let bos: String?
        let eos: String
        let cases: [Case]

        var testDescription: String { name }

        /// The template of a directory that has it, and tokens, in `tokenizer_config.json`.
        func load() throws -> ChatTemplate { try ChatTemplateReference.load(template, bos: bos, eos: eos) }
    }

    struct Case: Decodable, Sendable {
        let conversation: String
        let addGenerationPrompt: Bool
        let text: String?
        let refusal: String?
    }

    let conversations: [String: [ChatMessage]]
    let templates: [Template]

    static let shared: ChatTemplateReference = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Reference/chat_templates.json")
        do {
            return try JSONDecoder().decode(ChatTemplateReference.self, from: Data(contentsOf: file))
        } catch {
            fatalError("\(file.path): \(error)")
        }
    }()

    static func template(_ name: String) throws -> Template {
        try #require(shared.templates.first { $0.name == name })
    }

    static let chatML = """
        {% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    static func load(_ template: String, bos: String? = "<s>", eos: String? = "</s>") throws -> ChatTemplate {
        let config = ["chat_template": template, "bos_token": bos, "eos_token": eos].compactMapValues { $0 }
        return try withDirectory(["tokenizer_config.json": JSONEncoder().encode(config)]) {
            try ChatTemplate(directory: $0)
        }
    }
}
