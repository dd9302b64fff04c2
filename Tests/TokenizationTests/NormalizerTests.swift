import Testing

@testable import Tokenization

@Suite("Normalizers")
struct NormalizerTests {
    private func normalized(_ text: String, by normalizer: Normalizer) throws -> [Unicode.Scalar] {
        var bytes = Array(text.utf8)
        try normalizer.normalize(&bytes, startsText: true)
        return Array(String(decoding: bytes, as: UTF8.self).unicodeScalars)
    }

    @Test(
        "NFC composes, also where Foundation does not",
        arguments: [
            ("plain", "plain"), ("e\u{301}", "\u{E9}"), ("a\u{301}\u{323}b", "\u{1EA1}\u{301}b"),
            ("\u{212B}", "\u{C5}"),
            ("\u{AC00}\u{11A8}", "\u{AC01}"), ("\u{1100}\u{1161}\u{11A8}", "\u{AC01}"),
            ("\u{1113}\u{1171}", "\u{1113}\u{1171}"),
            ("q\u{307}\u{323}\u{F73}", "q\u{F71}\u{F72}\u{323}\u{307}"), ("\u{CCA}\u{CD5}", "\u{CCB}"),
            ("\u{10041}\u{301}", "\u{10041}\u{301}"), ("\u{301}\u{323}", "\u{323}\u{301}"),
            ("\u{958}", "\u{915}\u{93C}"),
            ("\u{E01}\u{E48}\u{E38}", "\u{E01}\u{E38}\u{E48}"), ("", ""),
        ]
    )
    func canonicalComposition(text: String, expected: String) throws {
        #expect(try normalized(text, by: .canonicalComposition) == Array(expected.unicodeScalars))
    }

    @Test("NFC composes a letter the same however often it comes")
    func repeatedComposition() throws {
        let decomposed = String(repeating: "e\u{301} a\u{323}\u{301}\u{AC00}\u{11A8}", count: 5000)
        let composed = String(repeating: "\u{E9} \u{1EA1}\u{301}\u{AC01}", count: 5000)
        #expect(try normalized(decomposed, by: .canonicalComposition) == Array(composed.unicodeScalars))
    }

    @Test("Prepend leaves empty text empty; Replace takes all occurrences; Strip and Lowercase work by scalar")
    func others() throws {
        #expect(try normalized("", by: .prepend([0x5F])) == [])
        #expect(try normalized("a", by: .prepend([0x5F])) == ["_", "a"])
        #expect(try normalized("aaa", by: .replace(.literal(Array("aa".utf8)), with: [0x62])) == ["b", "a"])
        #expect(try normalized("aaa", by: .replace(.literal([]), with: [0x62])) == ["a", "a", "a"])
        #expect(try normalized(" \u{3000}a ", by: .strip(left: true, right: false)) == ["a", " "])
        #expect(try normalized(" a\n", by: .strip(left: false, right: true)) == [" ", "a"])
        #expect(try normalized("ÀΣ", by: .lowercase) == ["à", "σ"])
        #expect(try normalized("  a   b ", by: .collapseSpaces) == ["a", " ", "b"])
    }
}
