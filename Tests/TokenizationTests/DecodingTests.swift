import Foundation
import Testing

@testable import Tokenization

@Suite("Decoding")
struct DecodingTests {
    private func decode(_ tokens: [String], _ stages: any DecoderStage...) -> String {
        var decoder = TextDecoder(stages: stages)
        let text = tokens.flatMap { decoder.append(Array($0.utf8)[...]) } + decoder.finish()
        return String(decoding: text, as: UTF8.self)
    }

    @Test("A run of byte tokens that is not UTF-8 is replaced whole, or byte by byte as sentencepiece does")
    func byteFallback() {
        let whole = ByteFallbackStage(invalidRun: .replacedWhole)
        #expect(decode(["a", "<0xE4>", "<0xBD>", "<0xA0>", "b"], whole) == "a你b")
        #expect(decode(["<0x41>", "<0xE4>", "b"], whole) == "\u{FFFD}\u{FFFD}b")
        #expect(decode(["<0x4G>", "<0x041>"], whole) == "<0x4G><0x041>")
        let byByte = ByteFallbackStage(invalidRun: .replacedByByte)
        #expect(decode(["<0x41>", "<0xE4>", "<0xBD>", "b"], byByte) == "A\u{FFFD}\u{FFFD}b")
    }

    @Test("Strip counts characters at both ends, of each token or of the fused text")
    func strip() {
        let stage = StripStage(content: [0x20], start: 1, stop: 1)
        #expect(decode(["  a ", " b"], stage) == " ab")
        #expect(decode(["  a ", " b", " ", " "], FusedStripStage(stage)) == " a  b ")
        #expect(decode([" "], FusedStripStage(StripStage(content: [0x20], start: 2, stop: 5))) == "")
        #expect(decode([" a"], StripStage(content: [0x20], start: .max, stop: .max)) == "a")
    }

    @Test(
        "Characters that may have to be stripped are held back in time linear in their number", .timeLimit(.minutes(2)))
    func longStrip() {
        let stage = FusedStripStage(StripStage(content: [0x20], start: 0, stop: .max))
        let spaces = Array(repeating: " ", count: 200_000)
        #expect(decode(["a"] + spaces, stage) == "a")
        #expect(decode(["a"] + spaces + ["b "], stage) == "a\(spaces.joined())b")
        #expect(decode(["a", "  ", " "], FusedStripStage(StripStage(content: [0x20], start: 0, stop: 2))) == "a ")
        #expect(decode(["a ", " "], FusedStripStage(StripStage(content: [0x20], start: 0, stop: -1))) == "a  ")
    }

    @Test("Metaspace drops the separators of the first token only where the encoder puts one")
    func metaspace() {
        let always = Metaspace(replacement: Array("▁".utf8), scheme: .always)
        #expect(decode(["▁Hey", "▁you"], MetaspaceStage(always)) == "Hey you")
        let never = Metaspace(replacement: Array("▁".utf8), scheme: .never)
        #expect(decode(["▁Hey", "▁you"], MetaspaceStage(never)) == " Hey you")
    }

    @Test("Without a decoder, tokens are joined by spaces")
    func noDecoder() throws {
        var file = ByteLevelFile()
        file.decoder = "null"
        #expect(try file.tokenizer().decode([0, 3], skipSpecialTokens: false) == "a ab")
    }

    private static let decoders = [
        #"{"type": "ByteLevel"}"#,
        #"{"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip", "content": " ", "start": 1, "stop": 2}]}"#,
        """
        {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
          {"type": "Replace", "pattern": {"String": "ab"}, "content": "x"}, {"type": "Strip", "content": "a", "start": 1, "stop": 1}]}
        """,
        "null",
    ]

    @Test("A stream of any ids gives whole characters, and together what decoding at once gives", arguments: decoders)
    func streaming(decoder: String) throws {
        var file = ByteLevelFile.bytes
        file.decoder = decoder
        file.addedTokens = (0...255).map { byte in
            let spelling = String(decoding: BytePairModel.fallbackSpelling(of: UInt8(byte)), as: UTF8.self)
            return #"{"id": \#(256 + byte), "content": "\#(spelling)", "special": false}"#
        }
        let tokenizer = try file.tokenizer()
        var stream = StreamingDecoder(tokenizer: tokenizer, skipSpecialTokens: false)
        let emoji = Array("a👩‍👩‍👧 b".utf8).map(Int.init)
        for round in 0..<200 {
            let ids = round == 0 ? emoji : (0..<20).map { _ in Int.random(in: 0..<560) }
            let streamed = ids.map { stream.append($0) } + [stream.finish()]
            #expect(streamed.joined() == tokenizer.decode(ids, skipSpecialTokens: false), "\(ids)")
        }
    }

    @Test("A character appears with the last of its bytes")
    func wholeCharacters() throws {
        var stream = StreamingDecoder(tokenizer: try ByteLevelFile.bytes.tokenizer(), skipSpecialTokens: false)
        #expect(Array("é你".utf8).map { stream.append(Int($0)) } == ["", "é", "", "", "你"])
        #expect(stream.append(0xE4) == "")
        #expect(stream.finish() == "\u{FFFD}")
        #expect(stream.append(0x41) == "A", "the decoder begins anew")
    }

    @Test("A tokenizer without a stream of its own streams the same text")
    func redecoding() throws {
        struct Plain: Tokenizer {
            let inner: any Tokenizer
            var vocabularySize: Int { inner.vocabularySize }
            var beginOfSequence: Int? { nil }
            var endOfSequence: Int? { nil }
            func encode(_ text: String, addSpecialTokens: Bool) -> [Int] { [] }
            func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
                inner.decode(ids, skipSpecialTokens: skipSpecialTokens)
            }
            func id(of token: String) -> Int? { nil }
            func token(of id: Int) -> String? { nil }
        }
        var stream = StreamingDecoder(
            tokenizer: Plain(inner: try ByteLevelFile.bytes.tokenizer()), skipSpecialTokens: true)
        let ids = Array("é".utf8).map(Int.init) + [0xFF, 0x41]
        #expect(ids.map { stream.append($0) } == ["", "é", "", "\u{FFFD}A"])
        #expect(stream.finish() == "")
    }
}
