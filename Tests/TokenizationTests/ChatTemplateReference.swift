import Foundation
import Testing

@testable import Tokenization

/// What `scripts/reference/chat_templates.py` rendered, with jinja2 3.1.6.
struct ChatTemplateReference: Decodable, Sendable {
    struct Template: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let format: String
        let template: String
        let bos: String?
        let eos: String
        let isReworded: Bool?
        let cases: [Case]

        var testDescription: String { name }

        /// The template of a directory that has it, and tokens, in `tokenizer_config.json`; of one that is written in
        /// other words than the published one, and so not recognized, its format.
        func load() throws -> ChatTemplate {
            if isReworded == true {
                let known = try #require(KnownTemplate.all.first { $0.format.name == format })
                return ChatTemplate(format: known.format, beginOfSequence: bos ?? "", endOfSequence: eos)
            }
            return try ChatTemplateReference.load(template, bos: bos, eos: eos)
        }
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

    static func load(_ template: String, bos: String? = "<s>", eos: String? = "</s>") throws -> ChatTemplate {
        let config = ["chat_template": template, "bos_token": bos, "eos_token": eos].compactMapValues { $0 }
        return try withDirectory(["tokenizer_config.json": JSONEncoder().encode(config)]) {
            try ChatTemplate(directory: $0)
        }
    }
}

extension KnownTemplate {
    /// The template of one that is known by it.
    var jinja: String { if case .template(let template) = signature { template } else { "" } }
}
