import Foundation
import Testing

@testable import Tokenization

/// Expected values: Python's tokenizers 0.23.3.
@Suite("Pre-tokenizers")
struct PreTokenizerTests {
    @Test(
        "Split keeps, joins or drops the matches as each behavior says",
        arguments: [
            (SplitBehavior.removed, ["a", "b", "c"]),
            (.isolated, ["a", "-", "-", "b", "-", "c"]),
            (.mergedWithPrevious, ["a-", "-", "b-", "c"]),
            (.mergedWithNext, ["a", "-", "-b", "-c"]),
            (.contiguous, ["a", "--", "b", "-", "c"]),
        ]
    )
    func behaviors(behavior: SplitBehavior, expected: [String]) throws {
        #expect(try pieces("a--b-c", by: .split(.literal([0x2D]), behavior, inverted: false)) == expected)
    }

    @Test("Split with invert takes what does not match for the match")
    func inverted() throws {
        let letters = try regularExpression("[a-z]+")
        #expect(try pieces("ab12cd", by: .split(letters, .removed, inverted: true)) == ["ab", "cd"])
    }

    @Test("Regular expressions count in UTF-16, pieces in UTF-8")
    func offsets() throws {
        let expression = try regularExpression("x|$")
        #expect(try pieces("😀éxя\0x", by: .split(expression, .isolated, inverted: false)) == ["😀é", "x", "я\0", "x"])
    }

    @Test(
        "A regular expression that backtracks without end is an error that names file, key and expression",
        .timeLimit(.minutes(2)))
    func backtracking() throws {
        let text = "b" + String(repeating: "a", count: 200)
        let slow = try regularExpression("b|(a+)+c")
        let failure = TokenizerError.expressionFailed(
            file: "tokenizer.json", key: "pre_tokenizer.pattern.Regex", expression: "b|(a+)+c", textBytes: 201)
        #expect(throws: failure) { try pieces(text, by: .split(slow, .isolated, inverted: false)) }
        #expect(throws: failure) { try slow.replaced(in: Array(text.utf8), with: []) }
        // Through a whole tokenizer, whose ids would be others without the matches that were not found.
        var file = ByteLevelFile.bytes
        file.preTokenizer = #"""
            {"type": "Sequence", "pretokenizers": [
              {"type": "Split", "pattern": {"Regex": "b|(a+)+c"}, "behavior": "Isolated"}, {"type": "ByteLevel"}]}
            """#
        let tokenizer = try file.tokenizer()
        #expect(try tokenizer.encode("bac", addSpecialTokens: false).count == 5)
        let error = try #require(throws: TokenizerError.self) { try tokenizer.encode(text, addSpecialTokens: false) }
        guard case .expressionFailed(_, "pre_tokenizer.pretokenizers[0].pattern.Regex", _, 201) = error else {
            throw error
        }
    }

    @Test("A regular expression that fills the engine's stack is an error and not the end of the matches")
    func stackOfExpression() throws {
        let deep = try regularExpression("x|(?:a|b)*c")
        let text = "x" + String(repeating: "ab", count: 4_000_000)
        #expect(throws: TokenizerError.self) { try count(of: deep, in: text) }
    }

    @Test("A regular expression finds all matches in texts of any length")
    func longTexts() throws {
        let words = try regularExpression(#"(?i:'s|'t)|\p{L}+| ?[^\s\p{L}]+|\s+"#)
        let long = Array(repeating: ["it", "'s", " "], count: 20_000).flatMap { $0 }
        let isSame = try pieces(long.joined(), by: .split(words, .isolated, inverted: false)) == long
        #expect(isSame)
    }

    @Test("Encoding a text ends soon after its task is cancelled")
    func cancellation() async throws {
        var file = ByteLevelFile.bytes
        file.preTokenizer = #"""
            {"type": "Sequence", "pretokenizers": [
              {"type": "Split", "pattern": {"Regex": "(a+)+c"}, "behavior": "Isolated"}, {"type": "ByteLevel"}]}
            """#
        let tokenizer = try file.tokenizer()
        let task = Task { try tokenizer.encode(String(repeating: "a", count: 20_000), addSpecialTokens: false).count }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("Digits stand apart, together or one by one")
    func digits() throws {
        #expect(try pieces("ab12½ c3", by: .digits(individually: false)) == ["ab", "12½", " c", "3"])
        #expect(try pieces("ab12½ c3", by: .digits(individually: true)) == ["ab", "1", "2", "½", " c", "3"])
    }

    @Test("Metaspace prepends by its scheme and splits before each separator")
    func metaspace() throws {
        func cut(_ text: String, _ scheme: Metaspace.PrependScheme, splits: Bool = true) throws -> [String] {
            try pieces(text, by: .metaspace(Metaspace(replacement: Array("▁".utf8), scheme: scheme), splits: splits))
        }
        #expect(try cut("Hey  you", .always) == ["▁Hey", "▁", "▁you"])
        #expect(try cut(" Hey", .always) == ["▁Hey"])
        #expect(try cut("Hey you", .never) == ["Hey", "▁you"])
        #expect(try cut("Hey you", .first, splits: false) == ["▁Hey▁you"])
        var later = PreTokenizedText(Array("Hey".utf8), startsText: false)
        try PreTokenizer.metaspace(Metaspace(replacement: Array("▁".utf8), scheme: .first), splits: true)
            .apply(to: &later)
        #expect(later.bytes == Array("Hey".utf8), "the scheme `first` leaves what follows an added token alone")
    }

    private func count(of pattern: SearchPattern, in text: String) throws -> Int {
        var count = 0
        try Array(text.utf8).withUnsafeBufferPointer { bytes in
            try pattern.forEachMatch(in: bytes, range: 0..<bytes.count) { _ in count += 1 }
        }
        return count
    }
}
