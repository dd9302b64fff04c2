import Foundation
import Testing

@testable import Tokenization

@Suite("vocab.json and merges.txt")
struct VocabularyFilesTests {
    /// `<s>` `<pad>` `</s>` and then the bytes, as OPT has them, and three merges.
    private static let vocabulary: String = {
        let tokens =
            ["<s>", "<pad>", "</s>"] + ByteAlphabet.scalars.map { String($0) } + ["ab", "abc", "\u{120}ab"]
        let escaped = tokens.map { $0.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") }
        return "{" + escaped.enumerated().map { "\"\($1)\": \($0)" }.joined(separator: ", ") + "}"
    }()
    private static let merges = "#version: 0.2\na b\nab c\n\u{120} ab\n"
    /// As the published OPT models have it.
    private static let configuration = """
        {"add_bos_token": true, "add_prefix_space": false, "errors": "replace", "tokenizer_class": "GPT2Tokenizer",
         "bos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": false, "normalized": true,
                       "rstrip": false, "single_word": false}}
        """
    private static let specialTokens = #"{"eos_token": "</s>", "unk_token": "</s>", "pad_token": {"content": "<pad>"}}"#

    private static let (ab, abc, spaceAB) = (259, 260, 261)

    private func load(_ changes: [String: String?] = [:]) throws -> any Tokenizer {
        var files: [String: String?] = [
            "vocab.json": Self.vocabulary, "merges.txt": Self.merges, "tokenizer_config.json": Self.configuration,
            "special_tokens_map.json": Self.specialTokens,
        ]
        files.merge(changes) { $1 }
        return try withDirectory(files.compactMapValues { $0.map { Data($0.utf8) } }) { try loadTokenizer(from: $0) }
    }

    /// The file, the key and the text of what is thrown.
    private func refusal(_ changes: [String: String?]) -> (file: String, key: String, text: String) {
        let error = #expect(throws: TokenizerError.self) { _ = try load(changes) }
        switch error {
        case .malformed(let file, let key, _), .unsupported(let file, let key, _, _):
            return (URL(filePath: file).lastPathComponent, key, error?.errorDescription ?? "")
        default:
            Issue.record("\(String(describing: error))")
            return ("", "", "")
        }
    }

    @Test("OPT's files: BOS in front, byte-level merges, and the named tokens found in texts")
    func opt() throws {
        let tokenizer = try load()
        #expect(try tokenizer.encode("abc ab", addSpecialTokens: true) == [2, Self.abc, Self.spaceAB])
        #expect(try tokenizer.encode("", addSpecialTokens: true) == [2])
        #expect(try tokenizer.encode("<pad>ab</s>", addSpecialTokens: false) == [1, Self.ab, 2])
        // "<s>" is in the vocabulary, but no file names it: a text that spells it is text.
        #expect(try tokenizer.encode("<s>", addSpecialTokens: false).count == 3)
        #expect(tokenizer.beginOfSequence == 2)
        #expect(tokenizer.endOfSequence == 2)
        #expect(tokenizer.vocabularySize == 262)
        let text = "ab\n\u{E9}\u{1F600} abc"
        #expect(try tokenizer.decode(tokenizer.encode(text, addSpecialTokens: true), skipSpecialTokens: true) == text)
    }

    @Test("Without the files beside them they are GPT-2's: nothing around a text, and <|endoftext|> where there is one")
    func gpt2() throws {
        let files: [String: String?] = ["tokenizer_config.json": nil, "special_tokens_map.json": nil]
        let plain = try load(files)
        #expect(try plain.encode("abc</s>", addSpecialTokens: true).count == 5)
        #expect(plain.beginOfSequence == nil)
        let vocabulary = Self.vocabulary.dropLast() + #", "<|endoftext|>": 262}"#
        let tokenizer = try load(files.merging(["vocab.json": String(vocabulary)]) { $1 })
        #expect(try tokenizer.encode("ab<|endoftext|>", addSpecialTokens: true) == [Self.ab, 262])
        #expect(tokenizer.beginOfSequence == 262)
        #expect(tokenizer.endOfSequence == 262)
    }

    @Test("add_bos_token, add_eos_token and add_prefix_space are followed")
    func flags() throws {
        let configuration = #"{"eos_token": "</s>", "add_eos_token": true, "add_prefix_space": true}"#
        let tokenizer = try load(["tokenizer_config.json": configuration])
        #expect(try tokenizer.encode("ab", addSpecialTokens: true) == [Self.spaceAB, 2])
    }

    @Test("Qwen2's class brings its normal form and its words")
    func qwen2() throws {
        let configuration = #"{"tokenizer_class": "Qwen2Tokenizer", "eos_token": "</s>"}"#
        let vocabulary = Self.vocabulary.dropLast() + #", "12": 262}"#
        let tokenizer = try load([
            "vocab.json": String(vocabulary), "merges.txt": Self.merges + "1 2\n",
            "tokenizer_config.json": configuration,
        ])
        #expect(try tokenizer.encode("12", addSpecialTokens: true).count == 2)
        let composed = try tokenizer.encode("\u{E9}", addSpecialTokens: false)
        #expect(try tokenizer.encode("e\u{301}", addSpecialTokens: false) == composed)
        #expect(tokenizer.beginOfSequence == nil)
    }

    @Test("added_tokens.json gives tokens ids, and added_tokens_decoder in its place")
    func addedTokens() throws {
        let beside = try load(["added_tokens.json": #"{"<x>": 262, "<pad>": 1}"#])
        #expect(try beside.encode("<x>ab<pad>", addSpecialTokens: false) == [262, Self.ab, 1])
        #expect(beside.decode([262, Self.ab, 1], skipSpecialTokens: true) == "<x>ab")
        let decoder =
            #"{"add_bos_token": true, "bos_token": "<y>", "added_tokens_decoder": {"#
            + #""262": {"content": "<x>", "special": true}, "263": {"content": "<y>", "lstrip": true}}}"#
        let inside = try load(["tokenizer_config.json": decoder, "added_tokens.json": #"{"<z>": 264}"#])
        #expect(try inside.encode("ab <y><x><z>", addSpecialTokens: true).starts(with: [263, Self.ab, 263, 262]))
        #expect(inside.decode([262, 263], skipSpecialTokens: true).isEmpty)
        #expect(inside.vocabularySize == 264)
    }

    @Test("Line ends of either kind, and no version line, change nothing")
    func lines() throws {
        for merges in [
            Self.merges.replacing("\n", with: "\r\n"), String(Self.merges.dropLast()),
            String(Self.merges.drop { $0 != "\n" }.dropFirst()),
        ] {
            let tokenizer = try load(["merges.txt": merges])
            #expect(try tokenizer.encode("abc ab", addSpecialTokens: false) == [Self.abc, Self.spaceAB])
        }
    }

    @Test("What is wrong is refused with its file and place")
    func refusals() throws {
        for (line, reason) in [("a", "one space"), ("a b c", "one space"), ("", "one space"), ("a xyz", "xyz")] {
            let refusal = refusal(["merges.txt": Self.merges + line + "\n"])
            #expect(refusal.file == "merges.txt")
            #expect(refusal.key == "line 5")
            #expect(refusal.text.contains(reason))
        }
        #expect(refusal(["merges.txt": "a xyz"]).key == "line 1")
        #expect(refusal(["vocab.json": "[]"]).file == "vocab.json")
        #expect(refusal(["vocab.json": #"{"a": 0, "b": 0}"#]).text.contains("vocab.json: token \"b\": has id 0"))
        #expect(refusal(["vocab.json": Self.vocabulary + "x"]).file == "vocab.json")
        #expect(
            refusal(["tokenizer_config.json": #"{"tokenizer_class": "RobertaTokenizer"}"#]).key == "tokenizer_class")
        #expect(refusal(["added_tokens.json": #"{"<x>": 3}"#]).text.contains("added_tokens.json: <x>:"))
        #expect(refusal(["added_tokens.json": #"{"<x>": -1}"#]).key == "<x>")
        #expect(refusal(["added_tokens.json": #"{"<x>": "1"}"#]).key == "<x>")
        let decoder = #"{"added_tokens_decoder": {"x": {"content": "<x>"}}}"#
        #expect(refusal(["tokenizer_config.json": decoder]).key == "added_tokens_decoder.x")
    }

    @Test("merges.txt that is not UTF-8 is refused")
    func notUTF8() throws {
        let files = ["vocab.json": Data(Self.vocabulary.utf8), "merges.txt": Data([0x61, 0x20, 0xFF, 0x0A])]
        let error = #expect(throws: TokenizerError.self) {
            _ = try withDirectory(files) { try loadTokenizer(from: $0) }
        }
        #expect(error?.errorDescription?.contains("merges.txt: not valid UTF-8") == true)
    }

    @Test("tokenizer.json counts before them, and one of the two alone is no tokenizer")
    func choice() throws {
        let tokenizer = try load([
            "tokenizer.json": String(decoding: ByteLevelFile.bytes.data, as: UTF8.self),
            "tokenizer_config.json": nil, "special_tokens_map.json": nil,
        ])
        #expect(tokenizer.vocabularySize == 256)
        for missing in ["vocab.json", "merges.txt"] {
            let error = #expect(throws: TokenizerError.self) { _ = try load([missing: nil]) }
            #expect(error?.errorDescription?.contains("vocab.json and merges.txt") == true)
        }
    }
}
