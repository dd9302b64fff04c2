import Testing
import Tokenization

@testable import OneBitEvaluation

/// A token per scalar, but a space and the scalar after it are one (100 + its value); "ab" is the token 7. BOS is 1.
struct PairTokenizer: Tokenizer {
    var vocabularySize: Int { 512 }
    var beginOfSequence: Int? { 1 }
    var endOfSequence: Int? { 2 }

    func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
        var ids = addSpecialTokens ? [1] : []
        var rest = Array(text.unicodeScalars)[...]
        while let scalar = rest.popFirst() {
            if scalar == "a", rest.first == "b" {
                rest.removeFirst()
                ids.append(7)
            } else if scalar == " ", let next = rest.popFirst() {
                ids.append(100 + Int(next.value))
            } else {
                ids.append(Int(scalar.value))
            }
        }
        return ids
    }

    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { ids == [1] ? "<s>" : "" }
    func id(of token: String) -> Int? { nil }
    func token(of id: Int) -> String? { nil }
    func encode(_ parts: [PromptPart]) -> [Int] { [] }
}

@Suite("Contexts and continuations as tokens")
struct PromptEncoderTests {
    private func pairs(
        _ choices: [(String, String)], prefix: Int? = 1, addsSpecialTokens: Bool = true
    ) throws -> [PromptEncoder.Pair] {
        let encoder = PromptEncoder(
            tokenizer: PairTokenizer(), prefix: prefix, addsSpecialTokens: addsSpecialTokens)
        return try encoder.pairs(of: choices.map { TaskItem.Choice(context: $0.0, continuation: $0.1, length: 1) })
    }

    private func pair(_ context: String, _ continuation: String) throws -> PromptEncoder.Pair {
        try pairs([(context, continuation)])[0]
    }

    @Test("Both parts are tokenized as one text, cut where the context's tokens end")
    func joint() throws {
        #expect(try pair("x", " y") == PromptEncoder.Pair(context: [1, 120], continuation: [100 + 121]))
        // "ab" is one token of the whole; the continuation is what lies behind as many tokens as the context has.
        #expect(try pair("xa", "b c") == PromptEncoder.Pair(context: [1, 120, 97], continuation: [100 + 99]))
    }

    @Test("White space at the end of a context goes to the continuation")
    func trailingSpace() throws {
        #expect(try pair("x ", "y") == PromptEncoder.Pair(context: [1, 120], continuation: [100 + 121]))
        #expect(try pair("x\n ", " y") == PromptEncoder.Pair(context: [1, 120], continuation: [10, 132, 121]))
    }

    @Test("Without special tokens there are none, and a text that is spelled with BOS gets no second one")
    func specialTokens() throws {
        #expect(try pairs([("x", " y")], addsSpecialTokens: false)[0].context == [120])
        #expect(try pair("<s>", "y").context == "<s>".unicodeScalars.map { Int($0.value) })
    }

    @Test("An empty context is the prefix token, or the first of the continuation's tokens where that is it")
    func emptyContext() throws {
        #expect(try pair("", " y") == PromptEncoder.Pair(context: [1], continuation: [100 + 121]))
        #expect(try pair("", "\u{1}y") == PromptEncoder.Pair(context: [1], continuation: [121]))
        #expect(try pairs([("  ", "y")], addsSpecialTokens: false)[0].context == [1])
    }

    @Test("What is too long loses tokens on the left; the last token needs no place")
    func truncation() {
        var pair = PromptEncoder.Pair(context: [1, 2, 3], continuation: [4, 5])
        var isTruncated = pair.truncate(toContext: 4)
        #expect(!isTruncated)
        #expect(pair.context == [1, 2, 3])
        isTruncated = pair.truncate(toContext: 3)
        #expect(isTruncated)
        #expect(pair == PromptEncoder.Pair(context: [2, 3], continuation: [4, 5]))
        isTruncated = pair.truncate(toContext: 2)
        #expect(pair == PromptEncoder.Pair(context: [3], continuation: [4, 5]))
        isTruncated = pair.truncate(toContext: 1)
        #expect(isTruncated)
        #expect(pair == PromptEncoder.Pair(context: [4], continuation: [5]))
    }
}
