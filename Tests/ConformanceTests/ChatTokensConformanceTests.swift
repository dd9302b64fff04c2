import Foundation
import TestSupport
import Testing

@testable import Tokenization

/// Chats with real tokenizers. Each family's ids have to be those of its text, which `tokenizers` agrees on, and a chat that
/// is fed turn by turn has to give the ids of the whole.
@Suite(
    "Chats with real tokenizers",
    .enabled(if: SharedData.isPresent, "the reference data (../shared) is not there")
)
struct ChatTokensConformanceTests {
    @Test(
        "A chat turn by turn gives the ids of the whole, and these are the ids of the text",
        arguments: [
            ("llama", "chat_templates-llama-2-chat"), ("llama", "chat_templates-mistral-instruct"),
            ("llama", "mistralai--Mistral-7B-Instruct-v0.3"), ("llama", "unsloth-vicuna_old"),
            ("llama3-style", "axolotl-llama3"), ("llama3-style", "unsloth-llama-3"),
            ("qwen2", "Qwen--Qwen1.5-4B-Chat"), ("qwen2", "chat_templates-qwen2.5-instruct"),
            ("qwen2", "Qwen--Qwen3-1.7B"),
        ])
    func turns(name: String, template: String) throws {
        try TokenizationConformanceTests.withDirectory(name) { directory in
            let tokenizer = try loadTokenizer(from: directory)
            try check(try self.template(template, tokenizer: tokenizer), tokenizer: tokenizer)
        }
    }

    /// What `tokenizer` makes of a chat in one format.
    private func check(_ chat: ChatTemplate, tokenizer: any Tokenizer) throws {
        var messages: [ChatMessage] = [.user("Where is the river Elbe, and how long is it?")]
        var fed = try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
        for (answer, question) in [("In Europe: 1,094 km.", "And the Rh\u{F4}ne?"), ("813 km,\n\nof course!", "Why?")] {
            let asked = fed.count
            messages.append(.assistant(answer))
            let continuation = try #require(
                try chat.continuation(of: messages, by: .user(question), tokenizer: tokenizer))
            messages.append(.user(question))
            let whole = try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
            // What the model generates: the ids of the whole between the question and what closes the answer.
            let generated = whole.dropFirst(asked).dropLast(continuation.count)
            let spelled = tokenizer.decode(Array(generated), skipSpecialTokens: false)
            #expect(spelled.trimmingCharacters(in: .whitespacesAndNewlines) == answer)
            fed += generated + continuation
            #expect(fed == whole)
            let text = try chat.text(of: messages, addGenerationPrompt: true)
            #expect(try whole == tokenizer.encode(text, addSpecialTokens: false))
        }
    }

    private func template(_ name: String, tokenizer: any Tokenizer) throws -> ChatTemplate {
        let url = SharedData.url("data/chat_templates/templates/\(name).jinja")
        let tokens = [
            "bos_token": tokenizer.beginOfSequence.flatMap(tokenizer.token(of:)) ?? "<|begin_of_text|>",
            "eos_token": tokenizer.endOfSequence.flatMap(tokenizer.token(of:)) ?? "<|endoftext|>",
        ]
        return try ChatTemplate(String(contentsOf: url, encoding: .utf8), name: name, specialTokens: tokens)
    }
}
