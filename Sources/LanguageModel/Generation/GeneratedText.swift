import Tokenization

/// The text of a sequence as its tokens come, up to the first stop string.
struct GeneratedText {
    /// The tokens so far, those of a stop string included.
    private(set) var tokens: [Int] = []
    /// True once a stop string has come.
    var isStopped: Bool { filter.isStopped }

    private var decoder: StreamingDecoder
    private var filter: StopStringFilter

    /// - Parameter prompt: tokens that the text joins on to; without them it stands alone.
    init(after prompt: [Int] = [], tokenizer: any Tokenizer, stopStrings: [String]) {
        decoder = StreamingDecoder(tokenizer: tokenizer, skipSpecialTokens: true)
        for token in prompt { _ = decoder.append(token) }
        filter = StopStringFilter(stopStrings)
    }

    /// The text that is settled with the next token, often none.
    mutating func append(_ token: Int) -> String {
        tokens.append(token)
        return filter.append(decoder.append(token))
    }

    /// The text that was held back.
    mutating func finish() -> String {
        isStopped ? "" : filter.append(decoder.finish()) + filter.finish()
    }
}
