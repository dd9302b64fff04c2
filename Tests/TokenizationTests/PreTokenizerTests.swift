import Foundation
import Testing

@testable import Tokenization

/// Expected values: Python's tokenizers 0.23.3.
@Suite("Pre-tokenizers")
struct PreTokenizerTests {
    @Test(
        "Split keeps, joins or drops the matches as each behaviour says",
        arguments: [
            (SplitBehavior.removed, ["a", "b", "c"]),
            (.isolated, ["a", "-", "-", "b", "-", "c"]),
            (.mergedWithPrevious, ["a-", "-", "b-", "c"]),
            (.mergedWithNext, ["a", "-", "-b", "-c"]),
            (.contiguous, ["a", "--", "b", "-", "c"]),
        ]
    )
    func behaviors(behavior: SplitBehavior, expected: [String]) {
        #expect(pieces("a--b-c", by: .split(.literal([0x2D]), behavior, inverted: false)) == expected)
    }

    @Test("Split with invert takes what does not match for the match")
    func inverted() throws {
        let letters = SearchPattern.regularExpression(try NSRegularExpression(pattern: "[a-z]+"))
        #expect(pieces("ab12cd", by: .split(letters, .removed, inverted: true)) == ["ab", "cd"])
    }

    @Test("Regular expressions count in UTF-16, pieces in UTF-8")
    func offsets() throws {
        let expression = SearchPattern.regularExpression(try NSRegularExpression(pattern: "x|$"))
        #expect(pieces("😀éxя\0x", by: .split(expression, .isolated, inverted: false)) == ["😀é", "x", "я\0", "x"])
    }

    @Test(
        "A regular expression that backtracks without end finds no more matches after a while", .timeLimit(.minutes(2)))
    func backtracking() throws {
        let expression = SearchPattern.regularExpression(try NSRegularExpression(pattern: "b|(a+)+c"))
        let text = "b" + String(repeating: "a", count: 200)
        #expect(pieces(text, by: .split(expression, .isolated, inverted: false)) == ["b", String(text.dropFirst())])
        #expect(String(decoding: expression.replaced(in: Array(text.utf8), with: []), as: UTF8.self).count == 200)
        // Ordinary ones find all of them, in texts of any length.
        let words = SearchPattern.regularExpression(
            try NSRegularExpression(pattern: #"(?i:'s|'t)|\p{L}+| ?[^\s\p{L}]+|\s+"#))
        let long = Array(repeating: ["it", "'s", " "], count: 20_000).flatMap { $0 }
        #expect(pieces(long.joined(), by: .split(words, .isolated, inverted: false)) == long)
    }

    @Test("Digits stand apart, together or one by one")
    func digits() {
        #expect(pieces("ab12½ c3", by: .digits(individually: false)) == ["ab", "12½", " c", "3"])
        #expect(pieces("ab12½ c3", by: .digits(individually: true)) == ["ab", "1", "2", "½", " c", "3"])
    }

    @Test("Metaspace prepends by its scheme and splits before each separator")
    func metaspace() {
        func cut(_ text: String, _ scheme: Metaspace.PrependScheme, splits: Bool = true) -> [String] {
            pieces(text, by: .metaspace(Metaspace(replacement: Array("▁".utf8), scheme: scheme), splits: splits))
        }
        #expect(cut("Hey  you", .always) == ["▁Hey", "▁", "▁you"])
        #expect(cut(" Hey", .always) == ["▁Hey"])
        #expect(cut("Hey you", .never) == ["Hey", "▁you"])
        #expect(cut("Hey you", .first, splits: false) == ["▁Hey▁you"])
        var later = PreTokenizedText(Array("Hey".utf8), startsText: false)
        PreTokenizer.metaspace(Metaspace(replacement: Array("▁".utf8), scheme: .first), splits: true).apply(to: &later)
        #expect(later.bytes == Array("Hey".utf8), "the scheme `first` leaves what follows an added token alone")
    }
}
