import Tokenization

/// Turns contexts and continuations into tokens as the harness does.
public struct PromptEncoder: Sendable {
    /// A context and a continuation, as tokens.
    public struct Pair: Sendable, Hashable {
        public var context: [Int]
        public var continuation: [Int]
    }

    private let tokenizer: any Tokenizer
    /// The token that stands for an empty context.
    private let prefix: Int?
    private let addsSpecialTokens: Bool
    /// How the prefix is spelled: a text that begins with it gets no second one.
    private let prefixText: String?

    /// - Parameters:
    ///   - tokenizer: the model's.
    ///   - prefix: what begins a sequence: the BOS token, or EOS for a model that has none.
    ///   - addsSpecialTokens: whether a text gets the special tokens that the tokenizer puts around one, its BOS above all.
    public init(tokenizer: any Tokenizer, prefix: Int?, addsSpecialTokens: Bool = true) {
        self.tokenizer = tokenizer
        self.prefix = prefix
        self.addsSpecialTokens = addsSpecialTokens
        prefixText = prefix.map { tokenizer.decode([$0], skipSpecialTokens: false) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// The tokens of an item's choices.
    ///
    /// White space at the end of a context goes to the front of the continuation, where tokenizers that join it to the
    /// next word find it. Context and continuation are then tokenized as one text, and cut where the tokens of the
    /// context alone end. An empty context is the prefix token.
    ///
    /// - Returns: a pair per choice. Either part may be empty, where a tokenizer makes no token of it.
    /// - Throws: what `Tokenizer.encode` throws.
    public func pairs(of choices: [TaskItem.Choice]) throws -> [Pair] {
        // Most items have one context for all of their choices.
        var encoded: (text: String, tokens: [Int])?
        return try choices.map { choice in
            let (context, space) = PythonText.splittingTrailingSpace(choice.context)
            guard !choice.context.isEmpty else { return try pairWithoutContext(choice.continuation) }
            if encoded?.text != context { encoded = (context, try encode(context)) }
            let tokens = encoded?.tokens ?? []
            let whole = try encode(context + space + choice.continuation)
            let continuation = Array(whole.dropFirst(tokens.count))
            return Pair(context: tokens.isEmpty ? prefix.map { [$0] } ?? [] : tokens, continuation: continuation)
        }
    }

    private func pairWithoutContext(_ text: String) throws -> Pair {
        let tokens = try tokenizer.encode(text, addSpecialTokens: false)
        guard let prefix, tokens.first != prefix else {
            return Pair(context: Array(tokens.prefix(1)), continuation: Array(tokens.dropFirst()))
        }
        return Pair(context: [prefix], continuation: tokens)
    }

    private func encode(_ text: String) throws -> [Int] {
        let hasPrefix = prefixText.map { text.utf8.starts(with: $0.utf8) } ?? false
        return try tokenizer.encode(text, addSpecialTokens: addsSpecialTokens && !hasPrefix)
    }
}

extension PromptEncoder.Pair {
    /// Cuts tokens off on the left until the model has room: it reads all but the last. Of a continuation that is itself
    /// too long (the harness stops there) the end is scored, behind the token before it.
    ///
    /// - Returns: whether any were cut off.
    mutating func truncate(toContext maximum: Int) -> Bool {
        let excess = context.count + continuation.count - (maximum + 1)
        guard excess > 0 else { return false }
        let tokens = (context + continuation).dropFirst(excess)
        let contextCount = max(1, context.count - excess)
        context = Array(tokens.prefix(contextCount))
        continuation = Array(tokens.dropFirst(contextCount))
        return true
    }
}
