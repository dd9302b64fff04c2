import Foundation
import Testing

@testable import Tokenization

@Suite("ChatTemplate: text")
struct ChatTemplateTests {
    private static let day = Date(timeIntervalSince1970: 1_741_348_800)  // 2025-03-07, noon

    @Test("Every family writes what Jinja writes", arguments: ChatTemplateReference.shared.templates)
    func reference(template: ChatTemplateReference.Template) throws {
        var chat = try template.load()
        chat.clock.date = Self.day
        for example in template.cases {
            let messages = try #require(ChatTemplateReference.shared.conversations[example.conversation])
            let text = try? chat.text(of: messages, addGenerationPrompt: example.addGenerationPrompt)
            if text == nil {
                // We refuse more than the templates do: what these would leave out silently.
                let isLeftOut = messages.contains {
                    $0.role == .system && example.text?.contains($0.content) == false
                }
                #expect(example.refusal != nil || isLeftOut, "\(example.conversation)")
            } else {
                #expect(text == example.text, "\(example.conversation)")
            }
        }
    }

    @Test("What a template refuses and what it leaves out are errors that say so")
    func roles() throws {
        let llama2 = try ChatTemplateReference.template("LLaMA-2").load()
        #expect(throws: ChatTemplateError.noMessages) { try llama2.text(of: [], addGenerationPrompt: true) }
        for messages in [[.system("s"), .user("a"), .user("b")], [.assistant("a")]] as [[ChatMessage]] {
            let error = #expect(throws: ChatTemplateError.self) {
                try llama2.text(of: messages, addGenerationPrompt: true)
            }
            guard case .refused(let refusal) = error else {
                return #expect(Bool(false), "\(String(describing: error))")
            }
            #expect(refusal.message == "user and assistant have to alternate" && refusal.line == 1)
            #expect(error?.errorDescription?.contains("tokenizer_config.json:1:") == true)
        }
        let forgetful = try ChatTemplateReference.load(
            "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}")
        #expect(throws: ChatTemplateError.systemUnsupported(file: forgetful.file)) {
            try forgetful.text(of: [.system("s"), .user("a")], addGenerationPrompt: true)
        }
        #expect(try forgetful.text(of: [.system(" "), .user("a")], addGenerationPrompt: true) == "a")
    }

    @Test("Tools, calls, documents and variables reach the template, calls with their arguments taken apart")
    func arguments() throws {
        let chat = try ChatTemplateReference.load(
            """
            {{ tools[0].name }} {{ documents[0].title }} {{ enable_thinking }} {% for m in messages %}\
            {% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments }}{% endfor %}\
            {{ m.tool_call_id }}{{ m.reasoning_content }}{{ m.content }}|{% endfor %}
            """)
        let arguments = try ChatTemplate.Arguments(
            tools: [.init(json: #"{"name": "add"}"#)], documents: [.init(json: #"{"title": "Sums"}"#)],
            variables: ["enable_thinking": .boolean(false)])
        let messages = [
            ChatMessage(
                role: .assistant, content: "", reasoningContent: "Hm.",
                toolCalls: [
                    ToolCall(name: "add", arguments: #"{"a": 1, "b": "x"}"#), ToolCall(name: "no", arguments: "{"),
                ]),
            .tool("2", callID: "7"),
        ]
        #expect(
            try chat.text(of: messages, addGenerationPrompt: false, arguments: arguments)
                == "add Sums False add{'a': 1, 'b': 'x'}no{Hm.|72|")
        let coded = try JSONDecoder().decode([ChatMessage].self, from: JSONEncoder().encode(messages))
        #expect(coded == messages)
        for name in ["messages", "tools", "add_generation_prompt", "eos_token", "range", "raise_exception", "loop"] {
            #expect(throws: ChatTemplateError.reservedVariable(name: name)) {
                try ChatTemplate.Arguments(variables: [name: .none])
            }
        }
    }
}

@Suite("ChatTemplate: files")
struct ChatTemplateFileTests {
    private let chatML = "ChatML {{ messages[0].content }}"
    private let alpaca = "Alpaca {{ messages[0].content }}"

    private func config(_ template: some Encodable) throws -> Data {
        try JSONEncoder().encode(["chat_template": template])
    }

    /// The first word that the template writes.
    private func format(_ files: [String: Data], _ arguments: ChatTemplate.Arguments = .none) throws -> String {
        let text = try withDirectory(files) {
            try ChatTemplate(directory: $0).text(of: [.user("?")], addGenerationPrompt: true, arguments: arguments)
        }
        return text.split(separator: " ").first.map(String.init) ?? ""
    }

    @Test(
        "What is not Jinja is refused when it is read, with the place",
        arguments: [
            "{% for", "{{ 'a }}", "{% if a %}", "{% endif %}", "{%%}", "{% for a in b %}{% endif %}",
            "{% if a %}{% endfor %}", "{# never closed", "{{ a|nothing }}",
        ])
    func malformed(template: String) {
        let error = #expect(throws: ChatTemplateError.self) { try ChatTemplateReference.load("\n\n" + template) }
        guard case .template(let syntax) = error else { return #expect(Bool(false), "\(String(describing: error))") }
        #expect(syntax.kind == .syntax && syntax.line == 3 && syntax.column > 0)
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
        let several = [["name": "tool_use", "template": "Tools"], ["name": "default", "template": chatML]]
        #expect(try format(["tokenizer_config.json": config(several)]) == "ChatML")
        let tools = try ChatTemplate.Arguments(tools: [.init(json: "{}")])
        #expect(try format(["tokenizer_config.json": config(several)], tools) == "Tools")
        #expect(try format(["tokenizer_config.json": config(chatML)], tools) == "ChatML")
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
        let llama3 = Data("{{ bos_token + messages[0].content }}".utf8)
        let error = #expect(throws: ChatTemplateError.self) { try format(["chat_template.jinja": llama3]) }
        #expect(error?.errorDescription?.contains("needs bos_token, but neither") == true)
        let map = Data(#"{"bos_token": {"content": "<|begin_of_text|>"}}"#.utf8)
        #expect(
            try format(["chat_template.jinja": llama3, "special_tokens_map.json": map]) == "<|begin_of_text|>?")
    }
}
