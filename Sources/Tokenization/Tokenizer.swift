/// Text to token ids and back.
public protocol Tokenizer: Sendable {
    /// Number of ids, added tokens included: one more than the largest.
    var vocabularySize: Int { get }
    /// Id that opens a sequence, where the tokenizer has one.
    var beginOfSequence: Int? { get }
    /// Id that closes a sequence, where the tokenizer has one.
    var endOfSequence: Int? { get }

    /// Token ids of `text`; with `addSpecialTokens` the ones that the post-processor adds (a BOS, say) too.
    ///
    /// - Throws: `TokenizerError.expressionFailed` where a regular expression of the tokenizer's file takes too long on the
    ///   text: no ids are given rather than wrong ones. `CancellationError` once the task is cancelled.
    func encode(_ text: String, addSpecialTokens: Bool) throws -> [Int]
    /// Token ids of a prompt, with nothing around it: its tokens, and its texts, whose special tokens are text like any other.
    ///
    /// - Throws: what `encode(_:addSpecialTokens:)` throws.
    func encode(_ parts: [PromptPart]) throws -> [Int]
    /// Text of `ids`. Bytes that are not valid UTF-8 become U+FFFD; ids that no token has are left out.
    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String
    /// The id of a whole token, as the vocabulary spells it.
    func id(of token: String) -> Int?
    /// The token of an id, as the vocabulary spells it.
    func token(of id: Int) -> String?
    /// Decodes id by id. What its calls return, put together, is what `decode` returns for all the ids.
    func makeDecodingStream(skipSpecialTokens: Bool) -> any DecodingStream
}

extension Tokenizer {
    /// A stream that decodes all ids again for each: for tokenizers that bring no stream of their own.
    public func makeDecodingStream(skipSpecialTokens: Bool) -> any DecodingStream {
        RedecodingStream(tokenizer: self, skipSpecialTokens: skipSpecialTokens)
    }
}
