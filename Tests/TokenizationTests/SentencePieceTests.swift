import Foundation
import Testing

@testable import Tokenization

@Suite("tokenizer.model")
struct SentencePieceTests {
    private let words = ["ab", "▁ab", "▁", "a", "b", "c"]

    @Test("The pair with the best score merges first; bytes spell what is unknown")
    func merges() throws {
        let tokenizer = try SentencePieceFile(words).tokenizer()
        #expect(tokenizer.vocabularySize == 265)
        #expect(try tokenizer.encode("ab cab", addSpecialTokens: false) == [260, 261, 264, 259])
        #expect(try tokenizer.encode("é", addSpecialTokens: true) == [1, 261, 3 + 0xC3, 3 + 0xA9])
        #expect(try tokenizer.encode("", addSpecialTokens: true) == [1])
        #expect(tokenizer.decode([1, 260, 261, 3 + 0xC3, 3 + 0xA9], skipSpecialTokens: true) == "ab é")
        #expect(tokenizer.beginOfSequence == 1)
        #expect(tokenizer.endOfSequence == 2)
    }

    /// Ids of transformers 5.24's LlamaTokenizer.
    @Test("Control pieces and the unknown one are found in texts; behind one `legacy` puts a separator")
    func controlPieces() throws {
        let legacy = try SentencePieceFile(words).tokenizer(configuration: #"{"legacy": true}"#)
        let other = try SentencePieceFile(words).tokenizer()
        for (text, old, new) in [
            ("ab</s>ab", [260, 2, 260], [260, 2, 259]), ("ab </s> ab", [260, 261, 2, 260], [260, 261, 2, 260]),
            ("<unk>c<s>", [0, 261, 264, 1], [0, 264, 1]), ("</s>", [2], [2]),
        ] {
            #expect(try legacy.encode(text, addSpecialTokens: false) == old, "\(text)")
            #expect(try other.encode(text, addSpecialTokens: false) == new, "\(text)")
        }
        #expect(try other.encode([.text("</s>")]).count == 5, "text of others has no control pieces")
        let unprefixed = try SentencePieceFile(words).tokenizer(configuration: #"{"add_prefix_space": false}"#)
        #expect(try unprefixed.encode("ab</s>ab", addSpecialTokens: false) == [259, 2, 259])
        #expect(unprefixed.decode([260], skipSpecialTokens: true) == " ab")
    }

    @Test("Without byte fallback neighboring unknown characters are one unknown token")
    func unknown() throws {
        var model = SentencePieceFile(words)
        model.hasByteFallback = false
        #expect(try model.tokenizer().encode("xyab", addSpecialTokens: false) == [261, 0, 259])
    }

    @Test("User-defined pieces stay whole; extra spaces and the dummy prefix are as the file says")
    func settings() throws {
        var model = SentencePieceFile(words)
        model.pieces.append((Array("cab".utf8), 0, .userDefined))
        model.addsDummyPrefix = false
        #expect(try model.tokenizer().encode("abcab", addSpecialTokens: false) == [259, 265])
        model.removesExtraSpaces = true
        #expect(try model.tokenizer().encode("  ab  ab ", addSpecialTokens: false) == [259, 260])
    }

    @Test("tokenizer_config.json says whether BOS and EOS are added")
    func boundaries() throws {
        let configuration = #"{"add_bos_token": false, "add_eos_token": true}"#
        let tokenizer = try SentencePieceFile(words).tokenizer(configuration: configuration)
        #expect(try tokenizer.encode("ab", addSpecialTokens: true) == [260, 2])
    }

    @Test("Models of other types, and broken ones, are refused by key")
    func refusals() throws {
        func key(_ change: (inout SentencePieceFile) -> Void) throws -> String {
            var model = SentencePieceFile(words)
            change(&model)
            let error = #expect(throws: TokenizerError.self) { _ = try model.tokenizer() }
            switch error {
            case .malformed(_, let key, _), .unsupported(_, let key, _, _): return key
            default: return "\(String(describing: error))"
            }
        }
        #expect(try key { $0.type = 1 } == "trainer_spec.model_type")
        #expect(try key { $0.charsmap = [1] } == "normalizer_spec.precompiled_charsmap")
        #expect(try key { $0.pieces[260].kind = .unused } == "pieces[260].type")
        #expect(try key { $0.pieces[260].piece = [] } == "pieces[260].piece")
        #expect(try key { $0.pieces[260].piece = [0xFF] } == "pieces[260].piece")
        #expect(try key { $0.pieces[260].piece = Array("ab".utf8) } == "pieces[260].piece")
        #expect(try key { $0.pieces[260].piece = Array("axb".utf8) } == "pieces[260].piece")
        #expect(try key { $0.pieces[260].score = .nan } == "pieces[260].score")
        #expect(try key { $0.pieces.removeAll() } == "pieces")
        #expect(try key { $0.pieces.removeLast($0.pieces.count - 1) } == "trainer_spec.bos_id")
    }

    @Test("Pieces without number are refused before they are parsed")
    func manyPieces() throws {
        /// 2^`exponent` empty pieces.
        func file(_ exponent: Int) -> Data { (0..<exponent).reduce(Data([0x0A, 0x00])) { data, _ in data + data } }
        #expect(file(10).withUnsafeBytes(SentencePieceReader.pieceCount) == 1024)
        #expect(SentencePieceFile(words).data.withUnsafeBytes(SentencePieceReader.pieceCount) == 265)
        let error = #expect(throws: TokenizerError.self) {
            _ = try withDirectory(["tokenizer.model": file(20) + file(0)]) { try loadTokenizer(from: $0) }
        }
        guard case .malformed(_, "pieces", "more than 1048576")? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test("More bytes of user-defined pieces than the limit are refused: each takes fifty bytes of memory")
    func longUserDefinedPieces() throws {
        var model = SentencePieceFile(words)
        // Unlike in their first bytes: the tree that finds them shares nothing.
        model.pieces += (0..<9000).map { index in
            (Array("\(10_000 + index)".utf8) + [UInt8](repeating: 0x78, count: 500), 0, .userDefined)
        }
        let error = #expect(throws: TokenizerError.self) { _ = try model.tokenizer() }
        #expect(error?.errorDescription?.contains("bytes of added tokens") == true)
    }

    @Test("Bytes that are no protobuf, or half of one, are refused, never crash")
    func garbage() throws {
        let whole = SentencePieceFile(words).data
        var broken = [
            Data(repeating: 0xFF, count: 100), Data("not a model".utf8), Data([0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        ]
        broken += stride(from: 1, to: whole.count - 20, by: 97).map { whole.prefix($0) }
        for data in broken {
            #expect(throws: TokenizerError.self) {
                _ = try withDirectory(["tokenizer.model": data]) { try loadTokenizer(from: $0) }
            }
        }
    }
}
