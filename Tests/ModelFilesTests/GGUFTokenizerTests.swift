import Foundation
import JSON
import ModelDescription
import TensorFiles
import TestSupport
import Testing
import Tokenization

@testable import ModelFiles

@Suite("A GGUF file's tokenizer")
struct GGUFTokenizerTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// Letters, "▁" and pieces with scores: "▁ab" is made of "ab", and "bc" beats "ab" by its score.
    private func sentencePiece() -> GGUFFixture {
        let pieces: [(String, Int32, Float)] = [
            ("<unk>", 2, 0), ("<s>", 3, 0), ("</s>", 3, 0), ("<0x0A>", 6, 0), ("<0xC3>", 6, 0), ("<0xA9>", 6, 0),
            ("ab", 1, -2), ("bc", 1, -1), ("▁ab", 1, -3), ("▁", 1, -10), ("a", 1, -10), ("b", 1, -10), ("c", 1, -10),
            ("<user>", 4, 0),
        ]
        var fixture = GGUFFixture(tokens: pieces.map(\.0), types: pieces.map(\.1))
        fixture.metadata["tokenizer.ggml.model"] = .string("llama")
        fixture.metadata["tokenizer.ggml.scores"] = .array(GGUFArray(pieces.map(\.2)))
        return fixture
    }

    private func byteLevel(pre: String = "gpt-2") -> GGUFFixture {
        let tokens = ["<|end|>", "a", "b", "c", "Ġ", "1", "ab", "Ġa", "<x>", "[PAD9]"]
        var fixture = GGUFFixture(tokens: tokens, types: [3, 1, 1, 1, 1, 1, 1, 1, 4, 5])
        fixture.metadata["tokenizer.ggml.model"] = .string("gpt2")
        fixture.metadata["tokenizer.ggml.pre"] = .string(pre)
        fixture.metadata["tokenizer.ggml.merges"] = .array(GGUFArray(["a b", "Ġ a"]))
        fixture.metadata["tokenizer.ggml.eos_token_id"] = .uint32(0)
        return fixture
    }

    @Test(
        "SentencePiece's merges go by the scores; a text begins with BOS and a space, and bytes stand for what is missing"
    )
    func sentencePieceTokens() throws {
        let tokenizer = try loadTokenizer(from: sentencePiece().write(to: directory))
        #expect(tokenizer.beginOfSequence == 1 && tokenizer.endOfSequence == 2)
        #expect(try tokenizer.encode("abc", addSpecialTokens: true) == [1, 9, 10, 7])
        #expect(try tokenizer.encode("ab", addSpecialTokens: false) == [8])
        #expect(try tokenizer.encode("a\né", addSpecialTokens: false) == [9, 10, 3, 4, 5])
        // As llama.cpp does, and LLaMA-2's tokenizer.json: a space before a text behind a special token too.
        #expect(try tokenizer.encode("a</s>b<user>c", addSpecialTokens: false) == [9, 10, 2, 9, 11, 13, 9, 12])
        #expect(tokenizer.decode([9, 10, 3, 4, 5], skipSpecialTokens: false) == "a\né")
    }

    @Test("add_space_prefix, add_bos_token and add_eos_token are followed")
    func flags() throws {
        var fixture = sentencePiece()
        fixture.metadata["tokenizer.ggml.add_space_prefix"] = .bool(false)
        fixture.metadata["tokenizer.ggml.add_bos_token"] = .bool(false)
        fixture.metadata["tokenizer.ggml.add_eos_token"] = .bool(true)
        let tokenizer = try loadTokenizer(from: fixture.write(to: directory))
        #expect(try tokenizer.encode("abc a", addSpecialTokens: true) == [10, 7, 9, 10, 2])
    }

    @Test("Byte-level tokens: merges, added tokens, and no padding")
    func byteLevelTokens() throws {
        let tokenizer = try loadTokenizer(from: byteLevel().write(to: directory))
        #expect(tokenizer.beginOfSequence == nil && tokenizer.endOfSequence == 0)
        #expect(try tokenizer.encode("ab ab a<x><|end|>11", addSpecialTokens: true) == [6, 4, 6, 7, 8, 0, 5, 5])
        #expect(tokenizer.decode([6, 4, 6, 7, 8, 0], skipSpecialTokens: true) == "ab ab a<x>")
        #expect(tokenizer.id(of: "[PAD9]") == nil)
    }

    @Test("A pre-tokenizer that is not known is refused by name, and so is another kind of tokenizer")
    func unsupported() throws {
        func refused(_ change: (inout GGUFFixture) -> Void, key: String) throws {
            var fixture = byteLevel()
            change(&fixture)
            let url = try fixture.write(to: directory)
            let error = #expect(throws: GGUFError.self) { try loadTokenizer(from: url) }
            guard case .unsupportedValue(_, key, _, _)? = error else { return fail("\(String(describing: error))") }
        }
        try refused({ $0.metadata["tokenizer.ggml.pre"] = .string("viking") }, key: "tokenizer.ggml.pre")
        try refused({ $0.metadata["tokenizer.ggml.pre"] = nil }, key: "tokenizer.ggml.pre")
        try refused({ $0.metadata["tokenizer.ggml.model"] = .string("bert") }, key: "tokenizer.ggml.model")
    }

    @Test("Lists of other lengths, ids out of range and scores that are no numbers are refused by key")
    func malformed() throws {
        func refused(_ key: String, _ value: GGUFValue?, of fixture: GGUFFixture) throws {
            var fixture = fixture
            fixture.metadata[key] = value
            let url = try fixture.write(to: directory)
            let error = #expect(throws: GGUFError.self, "\(key)") { try loadTokenizer(from: url) }
            switch error {
            case .wrongValue(_, let found, _, _), .missingKey(_, let found): #expect(found.hasPrefix(key))
            default: fail("\(String(describing: error))")
            }
        }
        let (pieces, bytes) = (sentencePiece(), byteLevel())
        try refused("tokenizer.ggml.scores", .array(GGUFArray([1] as [Float])), of: pieces)
        try refused("tokenizer.ggml.scores", .array(GGUFArray([Float](repeating: .nan, count: 14))), of: pieces)
        try refused("tokenizer.ggml.scores", nil, of: pieces)
        try refused("tokenizer.ggml.token_type", .array(GGUFArray([1] as [Int32])), of: bytes)
        try refused("tokenizer.ggml.token_type", .array(GGUFArray([Int32](repeating: 7, count: 10))), of: bytes)
        try refused("tokenizer.ggml.merges", nil, of: bytes)
        try refused("tokenizer.ggml.merges", .uint8(1), of: bytes)
        try refused("tokenizer.ggml.bos_token_id", .uint32(10), of: bytes)
        try refused("tokenizer.ggml.tokens", .array(GGUFArray([1] as [Int32])), of: bytes)
    }

    @Test("The chat template, or several by name, as tokenizer_config.json has them")
    func chatTemplates() throws {
        var fixture = byteLevel()
        fixture.metadata["tokenizer.chat_template"] = .string("{{ 1 }}")
        func template(_ fixture: GGUFFixture) throws -> JSONNode {
            let url = try fixture.write(to: directory).appending(path: "tokenizer_config.json")
            return try ModelFile.contents(of: url).withUnsafeBytes {
                try JSONNode(parsing: $0, file: url.path)["chat_template"]
            }
        }
        #expect(try template(fixture).string() == "{{ 1 }}")
        fixture.metadata["tokenizer.chat_templates"] = .array(GGUFArray(["tool_use"]))
        fixture.metadata["tokenizer.chat_template.tool_use"] = .string("{{ 2 }}")
        let both = try template(fixture).elements()
        #expect(try both.map { try $0["name"].string() } == ["default", "tool_use"])
        #expect(try both.map { try $0["template"].string() } == ["{{ 1 }}", "{{ 2 }}"])
        fixture.metadata["tokenizer.chat_template"] = nil
        fixture.metadata["tokenizer.chat_templates"] = nil
        #expect(try template(fixture).isMissing)
    }

    @Test("What ends a text is in generation_config.json: end of sequence, of turn, of message")
    func ends() throws {
        var fixture = byteLevel()
        fixture.metadata["tokenizer.ggml.eot_token_id"] = .uint32(1)
        let checkpoint = try Checkpoint(directory: fixture.write(to: directory))
        #expect(checkpoint.configuration.endOfSequence == [0, 1])
        #expect(checkpoint.configuration.beginOfSequence == nil)
    }

    @Test(
        "The files of a GGUF file can be written, and make the same model and tokenizer; one without tokenizer has none"
    )
    func files() throws {
        let checkpoint = try Checkpoint(directory: sentencePiece().write(to: directory))
        let target = try TemporaryDirectory()
        try checkpoint.copyAuxiliaryFiles(to: target.url)
        #expect(try target.entries == ["generation_config.json", "tokenizer.json", "tokenizer_config.json"])
        let (found, expected) = (try loadTokenizer(from: target.url), try loadTokenizer(from: checkpoint.directory))
        #expect(
            try found.encode("abc a</s>", addSpecialTokens: true)
                == expected.encode("abc a</s>", addSpecialTokens: true))
        try target.write(checkpoint.configuration.jsonData(quantization: nil), as: "config.json")
        #expect(try ModelConfiguration(contentsOf: target.file("config.json")) == checkpoint.configuration)

        let bare = try GGUFFixture().write(to: directory, as: "bare.gguf")
        #expect(try Checkpoint(directory: bare).auxiliaryFiles().map(\.lastPathComponent) == ["generation_config.json"])
        #expect(throws: TokenizerError.notFound(directory: bare.path)) { try loadTokenizer(from: bare) }
    }
}
