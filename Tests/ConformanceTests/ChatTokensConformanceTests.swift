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
            ("llama", "LLaMA-2"), ("llama", "Mistral"), ("llama", "Alpaca"), ("llama3-style", "LLaMA-3"),
            ("qwen2", "ChatML"), ("qwen2", "Qwen3"),
        ])
    func turns(name: String, family: String) throws {
        let templates = KnownTemplate.all.filter { $0.format.name.hasPrefix(family) }
        try TokenizationConformanceTests.withDirectory(name) { directory in
            let tokenizer = try loadTokenizer(from: directory)
            for known in templates { try check(known, tokenizer: tokenizer) }
        }
    }

    /// What `tokenizer` makes of a chat in one format.
    private func check(_ known: KnownTemplate, tokenizer: any Tokenizer) throws {
        let chat = template(known, tokenizer: tokenizer)
        var messages: [ChatMessage] = [.user("Where is the river Elbe, and how long is it?")]
        var fed = try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
        for (answer, question) in [("In Europe: 1,094 km.", "And the Rh\u{F4}ne?"), ("813 km,\n\nof course!", "Why?")] {
            let asked = fed.count
            messages.append(.assistant(answer))
            let continuation = try #require(try chat.continuation(of: messages, by: question, tokenizer: tokenizer))
            messages.append(.user(question))
            let whole = try chat.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
            // What the model generates: the ids of the whole between the question and what closes the answer.
            let generated = whole.dropFirst(asked).dropLast(continuation.count)
            let spelled = tokenizer.decode(Array(generated), skipSpecialTokens: false)
            #expect(spelled.trimmingCharacters(in: .whitespacesAndNewlines) == answer, "\(chat.formatName)")
            fed += generated + continuation
            #expect(fed == whole, "\(chat.formatName)")
            let text = try chat.text(of: messages, addGenerationPrompt: true)
            #expect(try whole == tokenizer.encode(text, addSpecialTokens: false), "\(chat.formatName)")
        }
    }

    private func template(_ known: KnownTemplate, tokenizer: any Tokenizer) -> ChatTemplate {
        ChatTemplate(
            format: known.format,
            beginOfSequence: tokenizer.beginOfSequence.flatMap(tokenizer.token(of:)) ?? "<|begin_of_text|>",
            endOfSequence: tokenizer.endOfSequence.flatMap(tokenizer.token(of:)) ?? "<|endoftext|>")
    }
}
