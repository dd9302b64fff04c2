import Foundation
import Testing

@testable import Tokenization

/// What holds the vocabulary of a tokenizer. In each the letters `a` and `b` are tokens, and `<x>` is not.
enum VocabularyForm: String, CaseIterable, CustomTestStringConvertible {
    case tokenizerFile = "tokenizer.json"
    case sentencePieceModel = "tokenizer.model"
    case vocabularyFiles = "vocab.json"

    var testDescription: String { rawValue }

    var files: [String: Data] {
        switch self {
        case .tokenizerFile: return [rawValue: ByteLevelFile.bytes.data]
        case .sentencePieceModel:
            var file = SentencePieceFile(["a", "b", "▁"])
            file.addsDummyPrefix = false
            return [rawValue: file.data]
        case .vocabularyFiles:
            let vocabulary = "{\(ByteLevelFile.bytes.vocabulary.joined(separator: ", "))}"
            return [rawValue: Data(vocabulary.utf8), "merges.txt": Data()]
        }
    }

    func tokenizer(_ beside: [String: String]) throws -> any Tokenizer {
        try withDirectory(files.merging(beside.mapValues { Data($0.utf8) }) { $1 }) { try loadTokenizer(from: $0) }
    }
}

/// Expected values: transformers 5.24, where it gives tokens the ids that the files say.
@Suite("Tokens of the files beside a vocabulary are part of the tokenizer, whichever file holds the vocabulary")
struct TokenizerConfigurationTests {
    private func ids(_ text: String, _ tokenizer: any Tokenizer) throws -> [Int] {
        try tokenizer.encode(text, addSpecialTokens: false)
    }

    @Test(
        "added_tokens.json adds words, and special tokens where another file names them",
        arguments: VocabularyForm.allCases)
    func addedTokensFile(form: VocabularyForm) throws {
        let size = try form.tokenizer([:]).vocabularySize
        let tokenizer = try form.tokenizer([
            "added_tokens.json": "{\"<y>\": \(size + 1), \"<x>\": \(size)}",
            "special_tokens_map.json": #"{"pad_token": "<y>"}"#,
        ])
        #expect(tokenizer.vocabularySize == size + 2)
        let (a, b) = (try #require(tokenizer.id(of: "a")), try #require(tokenizer.id(of: "b")))
        #expect(try ids("a<x>b<y>", tokenizer) == [a, size, b, size + 1])
        #expect(tokenizer.decode([a, size, b, size + 1], skipSpecialTokens: true) == "a<x>b")
        #expect(try tokenizer.encode([.template("<y>"), .text("<x><y>")]).prefix(2) == [size + 1, size])
        #expect(try tokenizer.encode([.text("<y>")]).count == 3, "a text of others has no special tokens")
    }

    @Test(
        "added_tokens_decoder adds tokens with their flags, and the other files add none",
        arguments: VocabularyForm.allCases)
    func decoder(form: VocabularyForm) throws {
        let size = try form.tokenizer([:]).vocabularySize
        let tokenizer = try form.tokenizer([
            "tokenizer_config.json": """
            {"eos_token": "<y>", "added_tokens_decoder": {
              "\(size + 1)": {"content": "<y>"}, "\(size)": {"content": "<x>", "rstrip": true, "special": true}}}
            """,
            "added_tokens.json": "{\"<z>\": \(size + 2)}", "special_tokens_map.json": #"{"pad_token": "<p>"}"#,
        ])
        #expect(tokenizer.vocabularySize == size + 2)
        #expect(tokenizer.endOfSequence == size + 1)
        let a = try #require(tokenizer.id(of: "a"))
        #expect(try ids("<x> a<y>", tokenizer) == [size, a, size + 1])
        #expect(tokenizer.decode([size, a, size + 1], skipSpecialTokens: true) == "a")
        #expect(try ids("<z><p>", tokenizer).count == 6)
    }

    @Test("A token that is named and has no id gets the next one", arguments: VocabularyForm.allCases)
    func namedTokens(form: VocabularyForm) throws {
        let size = try form.tokenizer([:]).vocabularySize
        let tokenizer = try form.tokenizer([
            "tokenizer_config.json": """
            {"extra_special_tokens": ["<e>"], "additional_special_tokens": ["<no>"], "image_token": "<i>",
             "pad_token": "b", "eos_token": {"content": "<x>"}, "add_bos_token": false, "mask_token": null}
            """,
            "special_tokens_map.json": #"{"additional_special_tokens": ["<m>", {"content": "<x>", "rstrip": true}]}"#,
        ])
        #expect(tokenizer.vocabularySize == size + 4)
        #expect(tokenizer.endOfSequence == size)
        #expect(["<x>", "<i>", "<e>", "<m>"].map { tokenizer.id(of: $0) } == Array(size..<size + 4))
        let b = try #require(tokenizer.id(of: "b"))
        #expect(try ids("<x> <i>b<e>", tokenizer) == [size, size + 1, b, size + 2])
        #expect(tokenizer.decode([size, b, size + 3], skipSpecialTokens: true) == "", "b is named, so it is special")
        #expect(try ids("<no>", tokenizer).count == 4)
    }

    @Test(
        "What special_tokens_map.json names counts before what tokenizer_config.json names",
        arguments: VocabularyForm.allCases)
    func precedence(form: VocabularyForm) throws {
        let size = try form.tokenizer([:]).vocabularySize
        let files = [
            "tokenizer_config.json": #"{"eos_token": "<x>"}"#, "special_tokens_map.json": #"{"eos_token": "<y>"}"#,
        ]
        let tokenizer = try form.tokenizer(files)
        #expect(tokenizer.endOfSequence == size)
        #expect(tokenizer.token(of: size) == "<y>")
        #expect(tokenizer.id(of: "<x>") == nil)
    }

    @Test("Extra tokens may be named by an object", arguments: VocabularyForm.allCases)
    func namedExtraTokens(form: VocabularyForm) throws {
        let size = try form.tokenizer([:]).vocabularySize
        let tokenizer = try form.tokenizer([
            "tokenizer_config.json": #"{"extra_special_tokens": {"image_token": "<x>"}}"#
        ])
        #expect(try ids("<x>", tokenizer) == [size])
    }

    @Test(
        "The id of the vocabulary's own file counts; one that another token has is refused",
        arguments: VocabularyForm.allCases)
    func contradictions(form: VocabularyForm) throws {
        let plain = try form.tokenizer([:])
        let size = plain.vocabularySize
        let a = try #require(plain.id(of: "a"))
        let known = try form.tokenizer(["added_tokens.json": "{\"a\": \(size)}"])
        #expect(try ids("a", known) == [a])
        #expect(known.vocabularySize == size)
        // Ids beyond the next free one are what the files say.
        #expect(try ids("<x>", try form.tokenizer(["added_tokens.json": "{\"<x>\": \(size + 5)}"])) == [size + 5])
        for tokens in [
            "{\"<x>\": \(a)}", "{\"<x>\": \(size), \"<y>\": \(size)}", "{\"<x>\": -1}", "{\"<x>\": \(1 << 40)}",
            "{\"<x>\": 1.5}", "[]",
        ] {
            let error = #expect(throws: TokenizerError.self) { _ = try form.tokenizer(["added_tokens.json": tokens]) }
            #expect(error?.errorDescription?.contains("added_tokens.json: ") == true)
        }
        for decoder in [
            "{\"\(a)\": {\"content\": \"<x>\"}}", #"{"x": {"content": "<x>"}}"#, "{\"\(size)\": {}}",
            "{\"\(size)\": {\"content\": \"<x>\"}, \"\(size + 1)\": {\"content\": \"<x>\"}}",
        ] {
            let error = #expect(throws: TokenizerError.self) {
                _ = try form.tokenizer(["tokenizer_config.json": "{\"added_tokens_decoder\": \(decoder)}"])
            }
            #expect(error?.errorDescription?.contains("tokenizer_config.json: added_tokens_decoder.") == true)
        }
    }

    @Test("added_tokens_decoder gives the tokens of tokenizer.json other flags, not other ids")
    func flags() throws {
        var file = ByteLevelFile()
        file.addedTokens = [#"{"id": 7, "content": "<s>", "special": true}"#]
        let decoder = #"{"added_tokens_decoder": {"9": {"content": "<s>", "rstrip": true, "special": false}}}"#
        let tokenizer = try withDirectory([
            "tokenizer.json": file.data, "tokenizer_config.json": Data(decoder.utf8),
        ]) { try loadTokenizer(from: $0) }
        #expect(try tokenizer.encode("<s> ab", addSpecialTokens: false) == [7, 3])
        #expect(tokenizer.decode([7, 3], skipSpecialTokens: true) == "ab")
        #expect(tokenizer.vocabularySize == 8)
    }
}
