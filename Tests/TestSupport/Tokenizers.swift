import Foundation
import LanguageModel
import Tokenization

/// One letter a token: a, b, c, …
package struct LetterTokenizer: Tokenizer {
    package let vocabularySize = 30
    package let beginOfSequence: Int? = nil
    package let endOfSequence: Int?

    package init(endOfSequence: Int? = nil) { self.endOfSequence = endOfSequence }

    package func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
        text.unicodeScalars.map { Int($0.value) - 97 }
    }
    package func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { ids.compactMap(token(of:)).joined() }
    package func id(of token: String) -> Int? { encode(token, addSpecialTokens: false).first }
    package func token(of id: Int) -> String? { UnicodeScalar(97 + id).map { String(Character($0)) } }
}

/// A token for each printable ASCII character and the line end, and the two marks of ChatML.
package struct ChatTokenizer: Tokenizer {
    package static let start = 0
    package static let end = 1
    private static let marks = ["<|im_start|>", "<|im_end|>"]
    private static let characters = ["\n"] + (32...126).map { String(UnicodeScalar(UInt8($0))) }

    package let vocabularySize = marks.count + characters.count
    package let beginOfSequence: Int? = nil
    package let endOfSequence: Int? = nil

    package init() {}

    package func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
        text.map { id(of: String($0)) ?? 2 }
    }
    package func encode(_ parts: [PromptPart]) -> [Int] {
        parts.flatMap { part in
            guard case .template(var text) = part else { return encode(part.content, addSpecialTokens: false) }
            // The marks as characters that stand for nothing else.
            for (id, mark) in Self.marks.enumerated() { text.replace(mark, with: "\(id == 0 ? "\u{0}" : "\u{1}")") }
            return text.unicodeScalars.map { $0.value < 2 ? Int($0.value) : id(of: String(Character($0))) ?? 2 }
        }
    }
    package func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
        ids.filter { !skipSpecialTokens || $0 >= Self.marks.count }.compactMap(token(of:)).joined()
    }
    package func id(of token: String) -> Int? {
        Self.marks.firstIndex(of: token) ?? Self.characters.firstIndex(of: token).map { $0 + Self.marks.count }
    }
    package func token(of id: Int) -> String? { (Self.marks + Self.characters)[id] }
}

extension ChatTemplate {
    /// The template of a directory that has this one, and `<s>` and `</s>`.
    package static func written(_ template: String) throws -> ChatTemplate {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-chat-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let config = ["chat_template": template, "bos_token": "<s>", "eos_token": "</s>"]
        try JSONEncoder().encode(config).write(to: directory.appending(path: "tokenizer_config.json"))
        return try ChatTemplate(directory: directory)
    }

    package static func chatML() throws -> ChatTemplate {
        try written(
            """
            {% for message in messages %}\
            {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
            {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
            """)
    }
}

extension ModelContainer {
    /// A model that speaks ChatML.
    package static func chatML(_ model: any CausalLanguageModel) throws -> ModelContainer {
        ModelContainer(model: model, tokenizer: ChatTokenizer(), chatTemplate: try .chatML())
    }
}
