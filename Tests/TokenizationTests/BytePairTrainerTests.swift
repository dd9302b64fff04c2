import Foundation
import Testing

@testable import Tokenization

@Suite("Training a tokenizer")
struct BytePairTrainerTests {
    private static let texts = (0..<200).map { index in
        "Once upon a time there was \(["a fox", "an owl", "the bear"][index % 3]) who said \"hello\" \(index) times.\n<s> é😀\\"
    }

    private func tokenizer(_ data: Data) throws -> any Tokenizer {
        let files = ["tokenizer.json": data, "tokenizer_config.json": BytePairTrainer.tokenizerConfiguration]
        return try withDirectory(files) { try loadTokenizer(from: $0) }
    }

    @Test("The same texts give the same bytes")
    func determinism() throws {
        let first = try BytePairTrainer.train(texts: Self.texts, vocabularySize: 320)
        #expect(try BytePairTrainer.train(texts: Self.texts, vocabularySize: 320) == first)
        #expect(
            try BytePairTrainer.train(texts: Self.texts.reversed(), vocabularySize: 320) == first,
            "whatever their order")
    }

    @Test("Any text goes to ids and back, with BOS in front")
    func roundTrip() throws {
        let tokenizer = try tokenizer(BytePairTrainer.train(texts: Self.texts, vocabularySize: 320))
        #expect(tokenizer.vocabularySize == 320)
        #expect(tokenizer.beginOfSequence == 0)
        #expect(tokenizer.endOfSequence == 1)
        #expect(tokenizer.id(of: "Ġthere") != nil)
        for text in Self.texts + ["", "\0\u{10FFFF} никогда 未见\r\n"] {
            let ids = try tokenizer.encode(text, addSpecialTokens: true)
            #expect(ids.first == 0)
            #expect(tokenizer.decode(Array(ids.dropFirst()), skipSpecialTokens: false) == text)
        }
        #expect(try tokenizer.encode("Once upon", addSpecialTokens: false).count < 6)
    }

    @Test("The most frequent pair merges first, of equals the one with smaller ids")
    func order() throws {
        // ab occurs three times; then bc and ca, twice each, where ab has not taken their letters.
        let data = try BytePairTrainer.train(texts: ["abxabxab", "cacabb"], vocabularySize: 300)
        let text = String(decoding: data, as: UTF8.self)
        let merges = text.components(separatedBy: "\"merges\": [\n")[1]
        #expect(merges.hasPrefix("      \"a b\""))
        #expect(try tokenizer(data).vocabularySize < 300, "it stops where no pair occurs twice")
    }

    @Test("No merge spells a special token")
    func specialTokens() throws {
        let data = try BytePairTrainer.train(texts: Array(repeating: "<s><s><s>", count: 10), vocabularySize: 300)
        #expect(try tokenizer(data).encode("x<s>", addSpecialTokens: false).last == 0)
        #expect(!String(decoding: data, as: UTF8.self).contains("\"<s >\""))
    }

    @Test("Sizes that cannot be are refused")
    func sizes() {
        #expect(throws: TokenizerError.vocabularyTooSmall(requested: 257, minimum: 258)) {
            try BytePairTrainer.train(texts: ["a"], vocabularySize: 257)
        }
        #expect(throws: TokenizerError.self) { try BytePairTrainer.train(texts: ["a"], vocabularySize: 1 << 40) }
    }
}
