import Testing

@testable import Tokenization

/// Expected values: Python's tokenizers 0.23.3.
@Suite("Added tokens")
struct AddedTokenTests {
    /// The parts of a text, tokens in brackets.
    private func split(_ text: String, by tokens: [AddedToken]) -> [String] {
        let matcher = AddedTokenMatcher(tokens.map { ($0, Array($0.content.utf8)) })
        var text = text
        return text.withUTF8 { bytes in
            matcher.split(bytes).map { part in
                switch part {
                case .text(let range): String(decoding: bytes[range], as: UTF8.self)
                case .token(let token): "[\(token.content)]"
                }
            }
        }
    }

    @Test("The leftmost wins, then the longest")
    func longest() {
        let tokens = ["<s>", "<s", "s><", "<s></s>"].enumerated().map { AddedToken(id: $0.offset, content: $0.element) }
        #expect(split("a<s><s></s><sb", by: tokens) == ["a", "[<s>]", "[<s></s>]", "[<s]", "b"])
        #expect(split("", by: tokens) == [])
        #expect(split("plain", by: []) == ["plain"])
    }

    @Test("lstrip and rstrip take white space along, but not from the token before")
    func strips() {
        let tokens = [
            AddedToken(id: 0, content: "<l>", stripsLeft: true), AddedToken(id: 1, content: "<r>", stripsRight: true),
        ]
        #expect(split("a \u{3000}<l> b", by: tokens) == ["a", "[<l>]", " b"])
        #expect(split("a <r> \n b", by: tokens) == ["a ", "[<r>]", "b"])
        #expect(split("<r>  <l>  ", by: tokens) == ["[<r>]", "[<l>]", "  "])
    }

    @Test("single_word tokens are found only where no word character touches them")
    func singleWord() {
        let tokens = [AddedToken(id: 0, content: "cat", isSingleWord: true)]
        #expect(split("cat", by: tokens) == ["[cat]"])
        #expect(
            split("a cat, concat cats cat_ \u{E9}cat", by: tokens) == ["a ", "[cat]", ", concat cats cat_ \u{E9}cat"])
    }

    @Test("Tokens inside white space that they strip take time linear in its length", .timeLimit(.minutes(2)))
    func manySpaces() {
        let tokens = [AddedToken(id: 0, content: " ", stripsRight: true)]
        #expect(split(String(repeating: " ", count: 200_000), by: tokens).count == 200_000)
    }

    @Test("normalized tokens are found in normalized text, the others in the text as given")
    func normalized() throws {
        var file = ByteLevelFile.bytes
        file.normalizer = #"{"type": "Lowercase"}"#
        file.addedTokens = [
            #"{"id": 256, "content": "<A>", "special": true, "normalized": false}"#,
            #"{"id": 257, "content": "<B>", "special": true, "normalized": true}"#,
        ]
        let tokenizer = try file.tokenizer()
        #expect(try tokenizer.encode("<A><B><b>", addSpecialTokens: false) == [256, 257, 257])
        #expect(try tokenizer.encode("<a>", addSpecialTokens: false) == [0x3C, 0x61, 0x3E])
        #expect(tokenizer.decode([256, 257, 0x61], skipSpecialTokens: false) == "<A><b>a")
        #expect(tokenizer.decode([256, 257, 0x61], skipSpecialTokens: true) == "a")
        #expect(tokenizer.id(of: "<B>") == 257)
    }
}
