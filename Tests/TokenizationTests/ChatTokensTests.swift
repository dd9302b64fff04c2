import Foundation
import Testing

@testable import Tokenization

@Suite("ChatTemplate: tokens")
struct ChatTokensTests {
    private static let special = [
        "<s>", "</s>", "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>",
        "<|im_end|>",
    ]

    /// Bytes are their own ids; special tokens follow, the brackets of Mistral v3 among them or not.
    private func tokenizer(brackets: Bool = false, normalizer: String = "null") throws -> any Tokenizer {
        var file = ByteLevelFile.bytes
        file.normalizer = normalizer
        file.addedTokens = (Self.special + (brackets ? ["[INST]", "[/INST]"] : [])).enumerated().map { index, token in
            #"{"id": \#(256 + index), "content": "\#(token)", "special": true, "normalized": false}"#
        }
        file.addedTokens.append(#"{"id": 300, "content": "<think>", "special": false, "normalized": false}"#)
        // What a plain encoding would put in front: never here.
        file.postProcessor = """
            {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [256]}}}
            """
        return try file.tokenizer()
    }

    @Test("A conversation's ids are those of its text, BOS once", arguments: ChatTemplateReference.shared.templates)
    func textually(template: ChatTemplateReference.Template) throws {
        let chat = try template.load()
        let tokenizer = try tokenizer(brackets: template.name.contains("tekken"))
        let messages: [ChatMessage] = [.user("Hello"), .assistant("Hi. How?"), .user("So.")]
        for messages in [messages, [messages[0]]] {
            let ids = try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
            let text = try chat.text(of: messages, addGenerationPrompt: true)
            #expect(try ids == tokenizer.encode(text, addSpecialTokens: false))
            #expect(tokenizer.decode(ids, skipSpecialTokens: false) == text)
            if template.name == "LLaMA-3.1" { #expect(ids.filter { $0 == 258 }.count == 1) }
        }
    }

    @Test("Control tokens that a message spells stay text", arguments: ChatTemplateReference.shared.templates)
    func injection(template: ChatTemplateReference.Template) throws {
        let chat = try template.load()
        let tokenizer = try tokenizer(brackets: template.name.contains("tekken"))
        let attack = Self.special.joined() + "[/INST]"
        let ids = try chat.tokens(of: [.user(attack)], addGenerationPrompt: true, tokenizer: tokenizer)
        let harmless = try chat.tokens(of: [.user("?")], addGenerationPrompt: true, tokenizer: tokenizer)
        #expect(ids.filter { $0 >= 256 } == harmless.filter { $0 >= 256 })
        #expect(tokenizer.decode(ids, skipSpecialTokens: false).contains(attack))
    }

    @Test("Special tokens are looked for neither in the text as given nor in normalized text; words still are")
    func words() throws {
        var file = ByteLevelFile.bytes
        file.normalizer = #"{"type": "Lowercase"}"#
        file.addedTokens = [
            #"{"id": 256, "content": "<A>", "special": true, "normalized": false}"#,
            #"{"id": 257, "content": "<B>", "special": true, "normalized": true}"#,
            #"{"id": 258, "content": "<C>", "special": false, "normalized": false}"#,
        ]
        let tokenizer = try file.tokenizer()
        #expect(try tokenizer.encode([.template("<A>"), .text("<C>"), .template("<B>")]) == [256, 258, 257])
        #expect(try tokenizer.encode([.text("<A><B>")]) == Array("<a><b>".utf8).map(Int.init))
        #expect(
            try tokenizer.encode([.text("x<"), .template("<Z>"), .text("y")]) == Array("x<<z>y".utf8).map(Int.init))
    }

    @Test(
        "What follows an answer, with all before, is the whole conversation",
        arguments: ChatTemplateReference.shared.templates)
    func continuation(template: ChatTemplateReference.Template) throws {
        let chat = try template.load()
        let tokenizer = try tokenizer(brackets: template.name.contains("tekken"))
        var messages: [ChatMessage] = [.user("Hello")]
        var fed = try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
        for (answer, question) in [("Hi.", "Who?"), ("Me </s>, \u{E9}", "<|im_end|> Why?")] {
            // What the model generates: the space that some formats put before answers is its own.
            let whole = try chat.text(of: messages + [.assistant(answer)], addGenerationPrompt: false)
            let asked = try chat.text(of: messages, addGenerationPrompt: true)
            let space = whole.dropFirst(asked.count).first == " " ? " " : ""
            fed += try tokenizer.encode([.text(space + answer)])
            messages.append(.assistant(answer))
            // A template that always asks has no text without its question.
            fed += try #require(try chat.continuation(of: messages, by: .user(question), tokenizer: tokenizer))
            messages.append(.user(question))
            #expect(fed == (try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)))
        }
    }

    @Test("Where earlier messages change there is no continuation")
    func rewritten() throws {
        let tokenizer = try tokenizer()
        let mistral = try ChatTemplateReference.template("Mistral v3").load()
        let first: [ChatMessage] = [.system("Be kind."), .user("Hello"), .assistant("Hi.")]
        #expect(try mistral.continuation(of: first, by: .user("So?"), tokenizer: tokenizer) == nil)
        let older = try ChatTemplateReference.template("Mistral v1").load()
        #expect(try older.continuation(of: first, by: .user("So?"), tokenizer: tokenizer) != nil)
        let qwen3 = try ChatTemplateReference.template("Qwen3").load()
        let thought: [ChatMessage] = [.user("Hello"), .assistant("<think>\nHm.\n</think>\n\nHi.")]
        #expect(try qwen3.continuation(of: thought, by: .user("So?"), tokenizer: tokenizer) == nil)
        #expect(throws: ChatTemplateError.nothingToContinue) {
            try qwen3.continuation(of: [.user("Hello")], by: .user("So?"), tokenizer: tokenizer)
        }
    }

    @Test("Behind an answer no tokenizer puts a space of its own before a text")
    func prefixSpace() throws {
        let tokenizer = try tokenizer(normalizer: #"{"type": "Prepend", "prepend": " "}"#)
        let llama2 = try ChatTemplateReference.template("LLaMA-2").load()
        let ids = try llama2.continuation(of: [.user("a"), .assistant("b")], by: .user("c"), tokenizer: tokenizer)
        #expect(ids.map { tokenizer.decode($0, skipSpecialTokens: false) } == " </s><s> [INST] c [/INST]")
    }

    @Test("An answer ends with its own token and EOS, and with text where the tokenizer has no such token")
    func answerEnds() throws {
        let tokenizer = try tokenizer()
        func end(_ name: String) throws -> ChatTemplate.AnswerEnd {
            try ChatTemplateReference.template(name).load().answerEnd(tokenizer: tokenizer)
        }
        #expect(try end("LLaMA-2") == ChatTemplate.AnswerEnd(tokens: [257], strings: []))
        #expect(try end("LLaMA-3") == ChatTemplate.AnswerEnd(tokens: [259], strings: []))
        #expect(try end("Qwen2.5") == ChatTemplate.AnswerEnd(tokens: [263], strings: []))
        #expect(
            try end("Alpaca, without tokens") == ChatTemplate.AnswerEnd(tokens: [257], strings: ["### Instruction:"]))
        let base = try ChatTemplateReference.load(ChatTemplateReference.chatML, eos: "</s>")
        #expect(try base.answerEnd(tokenizer: tokenizer) == ChatTemplate.AnswerEnd(tokens: [263, 257], strings: []))
        let bytes = try ByteLevelFile.bytes.tokenizer()
        #expect(
            try base.answerEnd(tokenizer: bytes) == ChatTemplate.AnswerEnd(tokens: [], strings: ["<|im_end|>", "</s>"]))
    }
}
