import Foundation
import FuzzSupport
import JSON
import Jinja
import Tokenization

// The input is chat_template.jinja, and behind separators tokenizer_config.json and special_tokens_map.json. Where the first
// is empty there is no such file, and the template is looked for in the second.

private let directory = ScratchDirectory()
private let names = ["chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json"]

/// tokenizer.json of single bytes, and BOS and EOS. An array, and no tokenizer and no `Data`: those are enums, whose tagged
/// pointers the leak detector does not see at the end of a run.
private let tokenizerFile: [UInt8] = {
    do {
        return Array(
            try BytePairTrainer.train(
                texts: EmptyCollection<String>(), vocabularySize: BytePairTrainer.minimumVocabularySize))
    } catch {
        fatalError("\(error)")
    }
}()

private let question = ChatMessage.user(sampleText)
private let answer = ChatMessage.assistant("<think>\nWhy?\n</think>\n\nBecause.")
private let conversations: [[ChatMessage]] = [
    [question],
    [.system("Be <s>brief</s>."), question],
    [.system(" "), .user(""), answer, question, .assistant("e\u{301}")],
    [question, question, answer, answer],
    [question, .system("late")],
    [],
]

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = FuzzInput(start, count, parts: 3)
    for (index, name) in names.enumerated() { directory.put(input[index].flatMap { $0.isEmpty ? nil : $0 }, at: name) }
    let loaded = refusing(with: ChatTemplateError.self, TokenizerError.self, FileError.self) {
        try ChatTemplate(directory: directory.url)
    }
    guard var template = loaded else { return 0 }
    template.limits.steps = 20_000
    template.limits.textLength = 100_000
    let tokenizer = makeTokenizer()
    _ = refusing(with: TokenizerError.self) { try template.answerEnd(tokenizer: tokenizer) }
    for conversation in conversations {
        for asks in [false, true] { write(conversation, asks: asks, with: template, tokenizer) }
        goOn(conversation, with: template, tokenizer)
    }
    return 0
}

private func makeTokenizer() -> BytePairTokenizer {
    for name in names { directory.put(nil, at: name) }
    tokenizerFile.withUnsafeBytes { directory.put($0, at: "tokenizer.json") }
    do {
        return try BytePairTokenizer(contentsOf: directory.url.appending(path: "tokenizer.json"))
    } catch {
        fatalError("\(error)")
    }
}

/// The ids of a conversation stand for its text.
private func write(
    _ conversation: [ChatMessage], asks: Bool, with template: ChatTemplate, _ tokenizer: BytePairTokenizer
) {
    let written = refusing(with: ChatTemplateError.self) {
        try template.text(of: conversation, addGenerationPrompt: asks)
    }
    guard let text = written else { return }
    let encoded = refusing(with: ChatTemplateError.self) {
        try template.tokens(of: conversation, addGenerationPrompt: asks, tokenizer: tokenizer)
    }
    guard let ids = encoded else { fatalError("written as text, but not as ids") }
    require(tokenizer.text(ids).utf8.elementsEqual(text.utf8), "the ids of a conversation are not those of its text")
}

/// A conversation, its answer and what follows on it are the longer conversation.
private func goOn(_ conversation: [ChatMessage], with template: ChatTemplate, _ tokenizer: BytePairTokenizer) {
    guard conversation.last?.role == .user else { return }
    let answered = conversation + [.assistant("Fine, 1 & 2.")]
    let following = refusing(with: ChatTemplateError.self) {
        try template.continuation(of: answered, by: .user("And?"), tokenizer: tokenizer)
    }
    guard let following, let ids = following else { return }
    let parts = refusing(with: ChatTemplateError.self) {
        let before = try template.tokens(of: conversation, addGenerationPrompt: true, tokenizer: tokenizer)
        let whole = try template.text(of: answered + [.user("And?")], addGenerationPrompt: true)
        return (before, whole)
    }
    guard let (before, whole) = parts else { fatalError("goes on, but cannot be written whole") }
    let fed = tokenizer.text(before) + "Fine, 1 & 2." + tokenizer.text(ids)
    // LLaMA-2 writes a space before an answer, which the model then says.
    let spaced = tokenizer.text(before) + " Fine, 1 & 2." + tokenizer.text(ids)
    require([fed, spaced].contains { $0.utf8.elementsEqual(whole.utf8) }, "what is fed is not the conversation")
}

extension BytePairTokenizer {
    fileprivate func text(_ ids: [Int]) -> String { decode(ids, skipSpecialTokens: false) }
}
