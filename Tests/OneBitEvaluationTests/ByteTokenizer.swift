import Tokenization

/// One byte a token.
struct ByteTokenizer: Tokenizer {
    var vocabularySize = 300
    var beginOfSequence: Int? = 299
    var endOfSequence: Int?
    /// Added to every id: a tokenizer that differs.
    var offset = 0

    func encode(_ text: String, addSpecialTokens: Bool) -> [Int] { text.utf8.map { Int($0) + offset } }
    func encode(_ parts: [PromptPart]) -> [Int] { [] }
    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { "" }
    func id(of token: String) -> Int? { nil }
    func token(of id: Int) -> String? { nil }
}
