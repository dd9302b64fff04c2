/// A part of a prompt that is put together from tokens and from texts of others.
public enum PromptPart: Sendable, Hashable {
    /// A special token, by its content. For a tokenizer that has none of this content it is text like any other.
    case token(String)
    /// Text in which nothing counts as a special token, whatever it spells.
    case text(String)

    /// The part's spelling.
    public var content: String {
        switch self {
        case .token(let content), .text(let content): content
        }
    }
}

extension Tokenizer {
    /// Ids of a prompt, with nothing around it. This one serves tokenizers whose `encode` finds no special tokens in a text:
    /// the others have to bring their own.
    public func encode(_ parts: [PromptPart]) throws -> [Int] {
        try encodeRuns(of: parts, idOfToken: id(of:)) { text, _ in try encode(text, addSpecialTokens: false) }
    }

    /// Ids of tokens as they come, and of all text between two of them at once.
    func encodeRuns(
        of parts: [PromptPart],
        idOfToken: (String) -> Int?,
        idsOfText: (_ run: String, _ startsPrompt: Bool) throws -> [Int]
    ) rethrows -> [Int] {
        var ids: [Int] = []
        var run = ""
        for part in parts {
            guard case .token(let content) = part, let id = idOfToken(content) else {
                run += part.content
                continue
            }
            if !run.isEmpty { ids += try idsOfText(run, ids.isEmpty) }
            run = ""
            ids.append(id)
        }
        if !run.isEmpty { ids += try idsOfText(run, ids.isEmpty) }
        return ids
    }
}
