import Foundation
import Testing

@testable import Tokenization

@Suite("ChatTemplate: text")
struct ChatTemplateTests {
    private static let day = Date(timeIntervalSince1970: 1_741_348_800)  // 2025-03-07, noon

    @Test("Every family writes what Jinja writes", arguments: ChatTemplateReference.shared.templates)
    func reference(template: ChatTemplateReference.Template) throws {
        var chat = try template.load()
        chat.today = Self.day
        #expect(chat.formatName == template.format)
        for example in template.cases {
            let messages = try #require(ChatTemplateReference.shared.conversations[example.conversation])
            let text = try? chat.text(of: messages, addGenerationPrompt: example.addGenerationPrompt)
            if text == nil {
                // We refuse more than the templates do: what these would leave out silently, or put out of order.
                let isRefusedByUsAlone =
                    messages.dropFirst().contains { $0.role == .system }
                    || template.name == "Mistral v1, no system" && messages[0].role == .system
                #expect(example.refusal != nil || isRefusedByUsAlone, "\(example.conversation)")
            } else {
                #expect(text == example.text, "\(example.conversation)")
            }
        }
    }

    @Test("Roles are checked, with errors that say where")
    func roles() throws {
        let llama2 = try ChatTemplateReference.template("LLaMA-2").load()
        #expect(throws: ChatTemplateError.noMessages) { try llama2.text(of: [], addGenerationPrompt: true) }
        #expect(throws: ChatTemplateError.rolesDoNotAlternate(format: "LLaMA-2", index: 2, found: .user)) {
            try llama2.text(of: [.system("s"), .user("a"), .user("b")], addGenerationPrompt: true)
        }
        #expect(throws: ChatTemplateError.rolesDoNotAlternate(format: "LLaMA-2", index: 0, found: .assistant)) {
            try llama2.text(of: [.assistant("a")], addGenerationPrompt: true)
        }
        #expect(throws: ChatTemplateError.systemNotFirst(index: 1)) {
            try llama2.text(of: [.user("a"), .system("s")], addGenerationPrompt: true)
        }
        let mistral = try ChatTemplateReference.template("Mistral v1, no system").load()
        #expect(throws: ChatTemplateError.systemUnsupported(format: "Mistral v1")) {
            try mistral.text(of: [.system("s"), .user("a")], addGenerationPrompt: true)
        }
    }
}

@Suite("ChatTemplate: recognition")
struct ChatTemplateRecognitionTests {
    private let chatML = """
        {% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    private func step(of template: String) -> String? {
        do {
            _ = try ChatTemplateReference.load(template)
            return nil
        } catch ChatTemplateError.unknownFormat(_, _, let step, _) {
            return step ?? "none"
        } catch {
            return "\(error)"
        }
    }

    @Test("Whatever changes what is written is refused, and shown")
    func changes() {
        #expect(step(of: chatML) == nil)
        #expect(
            step(of: chatML.replacing("message.content +", with: "message.content|trim +"))?.contains("|trim") == true)
        #expect(step(of: chatML.replacing("<|im_end|>\\n", with: "<|im_end|>"))?.contains("<|im_end|>") == true)
        #expect(
            step(of: chatML.replacing("message.content +", with: "message.content|upper +"))?.contains("upper") == true)
        #expect(step(of: chatML + "!") != nil)
        #expect(step(of: "{% if documents %}{{ documents }}{% endif %}" + chatML) == "if documents")
        #expect(step(of: chatML.replacing("{% for", with: "{{ 'Be kind.' }}{% for")) == "write Be kind.")
        #expect(step(of: chatML.replacing("in messages", with: "in messages[-3:]")) == "for message in messages[-3:]")
        #expect(step(of: "{% set tools = ['x'] %}" + chatML)?.hasPrefix("set tools") == true)
        #expect(step(of: "{% set add_generation_prompt = true %}" + chatML)?.hasPrefix("set add_gen") == true)
        #expect(step(of: "{% set loop_messages = messages[1:] %}" + chatML) != nil)
    }

    @Test("Quotes, indexing, comments, line ends and branches for tools make no difference")
    func spellings() {
        let other = """
            {#- ours -#}
            {%- if tools %}
                {{- tools | tojson }}
            {%- endif %}
            {%- for message in messages -%}
                {{- "<|im_start|>" + message["role"] + "\\n" -}}
                {{- message['content'] ~ '<|im_end|>' }}
            {% endfor -%}
            {%- if add_generation_prompt -%}
                {{- "<|im_start|>assistant\\n" -}}
            {%- endif -%}
            """
        #expect(step(of: other) == nil)
    }

    @Test("A branch that an earlier one leaves nothing to makes no difference; one that it does is seen")
    func unreachable() throws {
        let qwen = try ChatTemplateReference.template("Qwen2.5").template
        #expect(step(of: qwen) == nil)
        #expect(
            step(of: qwen.replacing("elif message.role == \"assistant\"", with: "elif message.role == \"x\"")) != nil)
    }

    @Test("A digest stands for all steps: spelling makes no difference, everything else does")
    func digest() throws {
        let plain = try TemplateOutline(chatML)
        #expect(plain.digest == (try TemplateOutline(chatML.replacing("message.role", with: "message['role']"))).digest)
        #expect(plain.digest != (try TemplateOutline(chatML + "!")).digest)
        // Other words for what Qwen3's does are not Qwen3's.
        #expect(step(of: try ChatTemplateReference.template("Qwen3").template) != nil)
    }

    @Test("A foreign template is refused with its beginning and the known formats")
    func foreign() throws {
        let gemma = "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message.role }}{% endfor %}"
        let error = #expect(throws: ChatTemplateError.self) { try ChatTemplateReference.load(gemma) }
        let text = try #require(error?.errorDescription)
        #expect(text.contains("/tokenizer_config.json: chat_template: "))
        #expect(text.contains("{{ bos_token }}{% for message"))
        #expect(text.contains("LLaMA-2, LLaMA-3, LLaMA-3.1, LLaMA-3.2, Mistral v1"))
    }

    @Test(
        "What is not Jinja is refused, whatever it is",
        arguments: [
            "{% for", "{{ 'a }}", "{% if a %}", "{% endif %}", "{% macro x() %}{% endmacro %}", "{%%}",
            "{% for a in b %}{% endif %}",
            "{% if a %}{% endfor %}", "{# never closed",
        ])
    func malformed(template: String) {
        let error = #expect(throws: ChatTemplateError.self) { try ChatTemplateReference.load(template) }
        guard case .malformed = error else { return #expect(Bool(false), "\(String(describing: error))") }
    }

    @Test("Deep nesting and empty templates are refused")
    func extremes() {
        for nested in ["not ", "("] {
            let condition = String(repeating: nested, count: 100_000) + "a"
            #expect(step(of: "{% if \(condition) %}x{% endif %}")?.contains("nested too deeply") == true)
        }
        #expect(step(of: String(repeating: "{% if a %}", count: 1000))?.contains("nested too deeply") == true)
        #expect(step(of: "") != nil)
        #expect(step(of: "{% if ((((not a or (b %}x{% endif %}") != nil)
    }
}

@Suite("ChatTemplate: files")
struct ChatTemplateFileTests {
    private let chatML = KnownTemplate.chatML[0].jinja
    private let alpaca = KnownTemplate.alpaca[2].jinja

    private func config(_ template: some Encodable) throws -> Data {
        try JSONEncoder().encode(["chat_template": template])
    }

    private func format(_ files: [String: Data]) throws -> String {
        try withDirectory(files) { try ChatTemplate(directory: $0).formatName }
    }

    @Test("Combining marks without end are refused, and so are those that no character bears", .timeLimit(.minutes(2)))
    func marks() throws {
        let marks = String(repeating: "\u{301}\u{323}", count: 64)
        func reason(_ template: String) -> String? {
            let files = ["chat_template.jinja": Data(template.utf8)]
            let error = #expect(throws: ChatTemplateError.self) {
                _ = try withDirectory(files) { try ChatTemplate(directory: $0) }
            }
            if case .malformed(_, let reason) = error { return reason }
            return nil
        }
        #expect(reason("{{ 'a\(marks)' }}") == nil)
        #expect(reason("{{ 'a\(String(repeating: marks, count: 3000))' }}")?.contains("combining marks") == true)
        // Each is short, but what they write would be one run.
        #expect(reason(String(repeating: "{{ '\(marks)' }}", count: 1000))?.contains("combining marks") == true)
    }

    @Test("chat_template.jinja goes before tokenizer_config.json, and that before chat_template.json")
    func order() throws {
        let jinja = Data(chatML.utf8)
        #expect(try format(["chat_template.jinja": jinja, "tokenizer_config.json": config(alpaca)]) == "ChatML")
        #expect(
            try format(["tokenizer_config.json": config(alpaca), "chat_template.json": config(chatML)]) == "Alpaca")
        #expect(
            try format(["tokenizer_config.json": Data("{}".utf8), "chat_template.json": config(chatML)]) == "ChatML")
    }

    @Test("Of several templates the one called default counts")
    func lists() throws {
        let several = [["name": "tool_use", "template": "{{ tools }}"], ["name": "default", "template": chatML]]
        #expect(try format(["tokenizer_config.json": config(several)]) == "ChatML")
        let error = #expect(throws: ChatTemplateError.self) {
            try format(["tokenizer_config.json": config([several[0]])])
        }
        #expect(error?.errorDescription?.contains("no template is called \"default\"; found tool_use") == true)
    }

    @Test("A missing template and a missing token are errors that say what to do")
    func missing() throws {
        try withDirectory([:]) { directory in
            let error = #expect(throws: ChatTemplateError.notFound(directory: directory.path)) {
                try ChatTemplate(directory: directory)
            }
            #expect(error?.errorDescription?.contains("can continue texts") == true)
        }
        let llama3 = Data(KnownTemplate.llama3[0].jinja.utf8)
        let error = #expect(throws: ChatTemplateError.self) { try format(["chat_template.jinja": llama3]) }
        #expect(error?.errorDescription?.contains("writes bos_token, but neither") == true)
        let map = Data(#"{"bos_token": {"content": "<|begin_of_text|>"}}"#.utf8)
        #expect(try format(["chat_template.jinja": llama3, "special_tokens_map.json": map]) == "LLaMA-3")
    }
}
