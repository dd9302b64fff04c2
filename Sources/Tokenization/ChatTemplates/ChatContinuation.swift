import Foundation
import Jinja

extension ChatTemplate {
    /// The ids that follow on an answer when the conversation goes on: what closes the answer, the next message, and what
    /// asks for the next answer. Nil where the template writes earlier messages otherwise once there is a new one (Mistral
    /// moves the system message to the last question, Qwen3 drops an answer's reasoning): the whole conversation has to be
    /// encoded again.
    ///
    /// The model has read `tokens(of:addGenerationPrompt:)` of `messages` without the answer, and the answer's ids as they were
    /// generated, without the id that ended it. All together are then the ids of the whole conversation, as long as
    ///
    /// * the answer's text, encoded, gives the generated ids: a model may choose others that spell the same;
    /// * the answer has no white space at its ends, which some templates take away (of LLaMA-2, which puts a space before
    ///   answers itself, the generated space is that one);
    /// * the tokenizer makes no single token of an answer's first or last characters and the text that the template writes
    ///   beside them: line ends, spaces, and marks that the tokenizer has no token for.
    ///
    /// Where these differ, the model continues from the tokens that it read and generated; only the encoding of the same text
    /// differs.
    ///
    /// - Throws: `ChatTemplateError` where `messages` does not end in an answer, or the template refuses or fails.
    public func continuation(
        of messages: [ChatMessage], by message: ChatMessage, arguments: Arguments = .none, tokenizer: any Tokenizer
    ) throws -> [Int]? {
        guard let answer = messages.last, answer.role == .assistant, messages.count > 1 else {
            throw ChatTemplateError.nothingToContinue
        }
        let asked = try rendering(of: messages.dropLast(), addGenerationPrompt: true, arguments)
        let whole = try rendering(of: messages + [message], addGenerationPrompt: true, arguments)
        guard let end = Self.end(of: answer.content, in: whole.text, behind: asked.text) else { return nil }
        let following = whole.promptParts.dropping(utf8Count: end)
        // Behind an answer no tokenizer puts a space before a text: the letter stands for the answer.
        let anchor = PromptPart.text("x")
        let anchored = try tokenizer.encode([anchor] + following)
        let anchorIDs = try tokenizer.encode([anchor])
        return anchored.starts(with: anchorIDs) ? Array(anchored.dropFirst(anchorIDs.count)) : nil
    }

    /// The conversation as token ids up to the end of the last message's text, which the model is to go on with, as
    /// transformers' `continue_final_message` gives them.
    ///
    /// - Throws: `ChatTemplateError` where there is no last message with a text, or the template refuses, fails, or leaves
    ///   that text out.
    public func tokens(
        continuing messages: [ChatMessage], arguments: Arguments = .none, tokenizer: any Tokenizer
    ) throws -> [Int] {
        let rendering = try rendering(of: messages, addGenerationPrompt: false, arguments)
        let content = messages.last?.content ?? ""
        let trimmed = content.trimmingCharacters(in: .whitespacesAndNewlines)
        guard !trimmed.isEmpty, let place = rendering.text.range(of: trimmed, options: [.backwards, .literal]) else {
            throw ChatTemplateError.nothingToContinue
        }
        // White space at its end, which some templates take away.
        let space = content[(content.range(of: trimmed, options: .literal)?.upperBound ?? content.endIndex)...]
        var end = rendering.text[..<place.upperBound].utf8.count
        if rendering.text.utf8.dropFirst(end).starts(with: space.utf8) { end += space.utf8.count }
        return try tokenizer.encode(rendering.promptParts.prefix(utf8Count: end))
    }

    /// Where an answer ends in a conversation, in bytes: as it is, or without the white space around it.
    private static func end(of answer: String, in whole: String, behind asked: String) -> Int? {
        guard whole.utf8.starts(with: asked.utf8) else { return nil }
        let start = asked.utf8.count
        let rest = whole.utf8.dropFirst(start)
        if rest.starts(with: answer.utf8) { return start + answer.utf8.count }
        let isSpace = { (byte: UInt8) in byte == 0x20 || 0x09...0x0D ~= byte }
        let written = rest.drop(while: isSpace)
        let trimmed = answer.trimmingCharacters(in: .whitespacesAndNewlines)
        guard written.starts(with: trimmed.utf8) else { return nil }
        return start + rest.count - written.count + trimmed.utf8.count
    }

    /// What ends an answer: what the template writes first behind one, and EOS.
    ///
    /// - Throws: what `Tokenizer.encode` throws.
    public func answerEnd(tokenizer: any Tokenizer, arguments: Arguments = .none) throws -> AnswerEnd {
        var tokens: [Int] = []
        var strings: [String] = []
        func add(_ id: Int) { if !tokens.contains(id) { tokens.append(id) } }
        if let following = textBehindAnswer(arguments), let mark = following.firstLine {
            let ids = try tokenizer.encode([.template(following)])
            if let id = ids.first, let token = tokenizer.token(of: id), following.hasPrefix(token),
                try tokenizer.encode([.text(following)]).first != id
            {
                add(id)
            } else if let id = tokenizer.id(of: mark) {
                add(id)
            } else {
                strings.append(mark)
            }
        }
        if let endOfSequence = specialTokens.first(where: { $0.name == "eos_token" })?.content, !endOfSequence.isEmpty {
            if let id = tokenizer.id(of: endOfSequence) {
                add(id)
            } else if !strings.contains(endOfSequence) {
                strings.append(endOfSequence)
            }
        }
        return AnswerEnd(tokens: tokens, strings: strings)
    }

    /// What the template writes between an answer and the next question, without white space before it; nil where it
    /// does not take a plain conversation.
    private func textBehindAnswer(_ arguments: Arguments) -> String? {
        let (answer, question) = ("An answer, 7.", "A question, 8.")
        let messages: [ChatMessage] = [.user("A question, 6."), .assistant(answer), .user(question)]
        guard let text = try? rendering(of: messages, addGenerationPrompt: false, arguments).text,
            let end = text.range(of: answer)?.upperBound,
            let next = text.range(of: question, range: end..<text.endIndex)?.lowerBound
        else { return nil }
        let between = text[end..<next].drop(while: \.isWhitespace)
        return between.isEmpty ? nil : String(between)
    }
}

extension String {
    /// The first line, without white space at its end.
    fileprivate var firstLine: String? {
        let line = prefix { !$0.isNewline }.trimmingCharacters(in: .whitespaces)
        return line.isEmpty ? nil : line
    }
}

extension [PromptPart] {
    /// The parts without so many bytes at their beginning.
    fileprivate func dropping(utf8Count count: Int) -> [PromptPart] {
        var rest = count
        var parts: [PromptPart] = []
        for part in self {
            let content = part.content.utf8
            let dropped = Swift.min(rest, content.count)
            rest -= dropped
            guard dropped < content.count else { continue }
            let kept = String(decoding: content.dropFirst(dropped), as: UTF8.self)
            parts.append(part.isTemplate ? .template(kept) : .text(kept))
        }
        return parts
    }

    /// So many bytes of the parts.
    fileprivate func prefix(utf8Count count: Int) -> [PromptPart] {
        var rest = count
        var parts: [PromptPart] = []
        for part in self where rest > 0 {
            let kept = String(decoding: part.content.utf8.prefix(rest), as: UTF8.self)
            rest -= part.content.utf8.count
            parts.append(part.isTemplate ? .template(kept) : .text(kept))
        }
        return parts
    }
}
