import Foundation
import Testing

@testable import Tokenization

@Suite("Words of byte-level tokenizers")
struct ByteLevelTests {
    /// Text that reaches the corners of the split patterns.
    private static func randomText(using generator: inout some RandomNumberGenerator) -> String {
        let parts = [
            "a", "Z", "é", "ſ", "中", "'", "'s", "'S", "'ll", "'Re", "’", "1", "٣", "½", "22", " ", "  ", "\n", "\r\n",
            "\t",
            "\u{A0}", "\u{3000}", "\u{85}", ".", "!?", "😀", "\u{301}", "\u{200B}", "\u{0}", "_", "B", "Д", "ǅ", "ʰ",
            "/",
        ]
        return (0..<Int.random(in: 0...14, using: &generator)).map { _ in parts.randomElement(using: &generator)! }
            .joined()
    }

    @Test(
        "The hand-written scanners match what the regular expressions match",
        arguments: [
            (SearchPattern.gpt2Words, WordScanner.gpt2Pattern),
            (.llama3Words(maximumDigits: 3), WordScanner.llama3Pattern(digits: "{1,3}")),
            (.llama3Words(maximumDigits: 1), WordScanner.llama3Pattern(digits: "")),
            (.tekkenWords, WordScanner.tekkenPattern),
        ]
    )
    func scanners(scanner: SearchPattern, pattern: String) throws {
        let expression = try regularExpression(pattern)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            let text = Self.randomText(using: &generator)
            let scanned = try pieces(text, by: .split(scanner, .isolated, inverted: false))
            let expected = try pieces(text, by: .split(expression, .isolated, inverted: false))
            #expect(scanned.map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "\(text.debugDescription)")
            #expect(scanned.joined().utf8.elementsEqual(text.utf8))
        }
    }

    @Test("Every byte has its own character, and the way back is the way there")
    func alphabet() {
        #expect(Set(ByteAlphabet.scalars).count == 256)
        #expect(ByteAlphabet.scalars[0x20] == "Ġ")
        #expect(ByteAlphabet.scalars[0x0A] == "Ċ")
        #expect(ByteAlphabet.scalars[0xFF] == "ÿ")
        var bytes: [UInt8] = []
        ByteAlphabet.appendBytes(of: Array(ByteAlphabet.spellings.joined())[...], to: &bytes)
        #expect(bytes == Array(UInt8.min...UInt8.max))
        bytes = []
        ByteAlphabet.appendBytes(of: Array("Ġ→".utf8)[...], to: &bytes)
        #expect(bytes == Array("Ġ→".utf8), "a character from outside the alphabet stands for itself")
    }

    @Test("Merges go by rank, then from the left; what no merge reaches stays")
    func merges() throws {
        let tokenizer = try ByteLevelFile().tokenizer()
        #expect(try tokenizer.encode("abc ab", addSpecialTokens: false) == [4, 6])
        #expect(try tokenizer.encode("aabcb", addSpecialTokens: false) == [0, 4, 1])
        #expect(try tokenizer.encode("", addSpecialTokens: false) == [])
        #expect(
            try tokenizer.encode("xax", addSpecialTokens: false) == [0], "unknown bytes are left out without unk_token")
        #expect(tokenizer.decode([4, 6], skipSpecialTokens: false) == "abc ab")
        #expect(tokenizer.vocabularySize == 7)
        #expect(tokenizer.id(of: "Ġab") == 6)
        #expect(tokenizer.token(of: 6) == "Ġab")
        #expect(tokenizer.token(of: 7) == nil)
        #expect(tokenizer.token(of: -1) == nil)
        #expect(tokenizer.decode([4, -1, 1 << 40, 7, 4], skipSpecialTokens: false) == "abcabc")
    }

    @Test("ignore_merges takes whole words from the vocabulary, merged or not")
    func ignoreMerges() throws {
        var file = ByteLevelFile()
        file.vocabulary.append(#""cab": 7"#)
        #expect(try file.tokenizer().encode("cab", addSpecialTokens: false) == [2, 3])
        file.model = #""ignore_merges": true,"#
        #expect(try file.tokenizer().encode("cab", addSpecialTokens: false) == [7])
    }

    @Test("add_prefix_space puts a space before each text that has none, also after an added token")
    func prefixSpace() throws {
        var file = ByteLevelFile()
        file.preTokenizer = #"{"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}"#
        file.addedTokens = [#"{"id": 7, "content": "<x>", "special": true}"#]
        #expect(try file.tokenizer().encode("ab<x>ab<x> ab", addSpecialTokens: false) == [6, 7, 6, 7, 6])
    }

    @Test("A word of 200,000 bytes is merged in O(n log n): at once, not in hours")
    func longWord() throws {
        let tokenizer = try ByteLevelFile().tokenizer()
        let ids = try tokenizer.encode(String(repeating: "abcab", count: 40_000), addSpecialTokens: false)
        #expect(ids.count == 80_000)
        #expect(ids.prefix(4) == [4, 3, 4, 3])
    }
}
