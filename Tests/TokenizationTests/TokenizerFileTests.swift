import Foundation
import JSON
import Testing

@testable import Tokenization

@Suite("tokenizer.json")
struct TokenizerFileTests {
    /// The key that the error names, and its text.
    private func refusal(of data: Data) throws -> (key: String, text: String) {
        let error = #expect(throws: TokenizerError.self) {
            _ = try withDirectory(["tokenizer.json": data]) { try loadTokenizer(from: $0) }
        }
        switch error {
        case .malformed(let file, let key, _), .unsupported(let file, let key, _, _):
            #expect(file.hasSuffix("/tokenizer.json"))
            return (key, error?.errorDescription ?? "")
        default:
            Issue.record("\(String(describing: error))")
            return ("", "")
        }
    }

    private func refusal(_ change: (inout ByteLevelFile) -> Void) throws -> (key: String, text: String) {
        var file = ByteLevelFile()
        change(&file)
        return try refusal(of: file.data)
    }

    @Test("Whatever is not supported is refused by name")
    func unsupported() throws {
        #expect(try refusal { $0.normalizer = #"{"type": "Nmt"}"# }.text.contains("normalizer Nmt"))
        let inner = #"{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "StripAccents"}]}"#
        #expect(try refusal { $0.normalizer = inner }.key == "normalizer.normalizers[1]")
        #expect(try refusal { $0.preTokenizer = #"{"type": "Whitespace"}"# }.text.contains("pre-tokenizer Whitespace"))
        let early = #"{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]}"#
        #expect(try refusal { $0.preTokenizer = early }.key == "pre_tokenizer.pretokenizers[0]")
        #expect(try refusal { $0.postProcessor = #"{"type": "BertProcessing"}"# }.text.contains("BertProcessing"))
        #expect(try refusal { $0.decoder = #"{"type": "WordPiece"}"# }.text.contains("decoder WordPiece"))
        #expect(try refusal { $0.model = #""dropout": 0.1,"# }.key == "model.dropout")
        #expect(try refusal { $0.model = #""end_of_word_suffix": "</w>","# }.key == "model.end_of_word_suffix")
        let unigram = #"{"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}"#
        #expect(try refusal(of: Data(unigram.utf8)).text.contains("model Unigram"))
    }

    @Test("Vocabularies with ids out of range, given twice, or of the wrong kind are refused")
    func vocabulary() throws {
        for entry in [
            #""x": -1"#, #""x": 4194304"#, #""x": 9223372036854775807"#, #""x": 99999999999999999999"#, #""x": "7""#,
            #""x": 3"#, #""a": 9"#, #""x": 1.5"#, #""x": null"#,
        ] {
            let refusal = try refusal { $0.vocabulary.append(entry) }
            #expect(refusal.key == "model.vocab" || refusal.key.hasPrefix("byte "), "\(entry): \(refusal)")
        }
        #expect(try refusal(of: Data(#"{"model": {"type": "BPE", "merges": []}}"#.utf8)).key == "model.vocab")
        #expect(try refusal(of: Data(#"{"model": {"type": "BPE", "vocab": {}}}"#.utf8)).key == "model.merges")
        #expect(try refusal(of: Data("{}".utf8)).key == "model")
    }

    @Test("An unknown token that is not in the vocabulary is an error where a text needs it, and nowhere else")
    func missingUnknownToken() throws {
        var file = ByteLevelFile()
        file.model = #""unk_token": "<unk>","#
        let tokenizer = try file.tokenizer()
        #expect(try tokenizer.encode("abc ab", addSpecialTokens: false) == [4, 6])
        let error = #expect(throws: TokenizerError.self) { try tokenizer.encode("ax", addSpecialTokens: false) }
        #expect(
            error?.errorDescription?.hasSuffix("model.unk_token: \"<unk>\" is needed, but is not in the vocabulary")
                == true)
        // Byte fallback needs no unknown token.
        file.preTokenizer = "null"
        file.model += #""byte_fallback": true,"#
        file.vocabulary += (UInt8.min...UInt8.max).map { byte in
            "\"\(String(decoding: BytePairModel.fallbackSpelling(of: byte), as: UTF8.self))\": \(100 + Int(byte))"
        }
        #expect(try file.tokenizer().encode("ax", addSpecialTokens: false) == [0, 100 + 0x78])
    }

    @Test("Tokens that are canonically equivalent are two tokens")
    func equivalentTokens() throws {
        var file = ByteLevelFile()
        file.preTokenizer = "null"
        file.vocabulary += ["\"\u{E9}\": 7", "\"e\": 8", "\"\u{301}\": 9", "\"e\u{301}\": 10"]
        file.merges.append("[\"e\", \"\u{301}\"]")
        let tokenizer = try file.tokenizer()
        #expect(try tokenizer.encode("\u{E9}e\u{301}", addSpecialTokens: false) == [7, 10])
        #expect(tokenizer.id(of: "\u{E9}") == 7)
        #expect(tokenizer.id(of: "e\u{301}") == 10)
    }

    @Test(
        "Merges that name unknown tokens or are no pairs are refused by their place",
        arguments: [
            #""a x""#, #""x a""#, #""b c""#, #""ab""#, #""a b c""#, #"["a"]"#, #"["a", "b", "c"]"#, "[]", "7", "null",
        ]
    )
    func merges(merge: String) throws {
        #expect(try refusal { $0.merges.append(merge) }.key == "model.merges[3]")
    }

    @Test("Merges as pairs and as strings are the same")
    func mergeForms() throws {
        var file = ByteLevelFile()
        file.merges = [#"["a", "b"]"#, #"["ab", "c"]"#, #"["Ġ", "ab"]"#]
        #expect(try file.tokenizer().encode("abc ab", addSpecialTokens: false) == [4, 6])
    }

    @Test("Added tokens that contradict the vocabulary or each other are refused")
    func addedTokens() throws {
        func added(_ id: Int, _ content: String) -> String {
            #"{"id": \#(id), "content": "\#(content)", "special": true}"#
        }
        #expect(try refusal { $0.addedTokens = [added(7, "<x>"), added(7, "<y>")] }.key == "added_tokens[1].id")
        #expect(try refusal { $0.addedTokens = [added(7, "<x>"), added(8, "<x>")] }.key == "added_tokens[1].id")
        #expect(try refusal { $0.addedTokens = [added(3, "<x>")] }.key == "added_tokens[0].id")
        #expect(try refusal { $0.addedTokens = [added(7, "ab")] }.key == "added_tokens[0].id")
        #expect(try refusal { $0.addedTokens = [added(-1, "<x>")] }.key == "added_tokens[0].id")
        #expect(try refusal { $0.addedTokens = [added(1 << 40, "<x>")] }.key == "added_tokens[0].id")
        let long = String(repeating: "x", count: 2000)
        #expect(try refusal { $0.addedTokens = [added(7, long)] }.key == "added_tokens[0].content")
        #expect(try refusal { $0.addedTokens = [#"{"id": 7}"#] }.key == "added_tokens[0].content")
    }

    @Test("What would blow a text up without bound is refused")
    func expansion() throws {
        let double = #"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#
        let doublings = Array(repeating: double, count: 40).joined(separator: ", ")
        #expect(
            try refusal { $0.normalizer = #"{"type": "Sequence", "normalizers": [\#(doublings)]}"# }.key == "normalizer"
        )
        #expect(try refusal { $0.decoder = #"{"type": "Sequence", "decoders": [\#(doublings)]}"# }.key == "decoder")
        let ids = Array(repeating: "0", count: 2000).joined(separator: ", ")
        let template = """
            {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}}, {"Sequence": {"id": "A"}}],
             "special_tokens": {"a": {"ids": [\(ids)]}}}
            """
        #expect(try refusal { $0.postProcessor = template }.key == "post_processor")
        // Every character becomes a word, every word gets a separator in front, and so on.
        let everyCharacter = #"{"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated"}"#
        let doubling = ["x", "y"].map { #"\#(everyCharacter), {"type": "Metaspace", "replacement": "\#($0)"}"# }
        let words = Array(repeating: doubling.joined(separator: ", "), count: 15).joined(separator: ", ")
        #expect(
            try refusal { $0.preTokenizer = #"{"type": "Sequence", "pretokenizers": [\#(words)]}"# }.key
                == "pre_tokenizer"
        )
    }

    @Test("Components of more steps than the limit are refused")
    func steps() throws {
        func sequence(_ list: String, of step: String, count: Int) -> String {
            #"{"type": "Sequence", "\#(list)": [\#(Array(repeating: step, count: count).joined(separator: ", "))]}"#
        }
        let strip = #"{"type": "Strip", "content": "x", "start": 1, "stop": 0}"#
        let digits = #"{"type": "Digits"}"#
        #expect(try refusal { $0.normalizer = sequence("normalizers", of: strip, count: 65) }.key == "normalizer")
        #expect(try refusal { $0.decoder = sequence("decoders", of: strip, count: 65) }.key == "decoder")
        let nested = sequence("pretokenizers", of: sequence("pretokenizers", of: digits, count: 13), count: 5)
        #expect(try refusal { $0.preTokenizer = nested }.key == "pre_tokenizer")
        let expression = #"{"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated"}"#
        let expressions = sequence("pretokenizers", of: expression, count: 9)
        #expect(try refusal { $0.preTokenizer = expressions }.key == "pre_tokenizer")
        var file = ByteLevelFile()
        file.normalizer = sequence("normalizers", of: strip, count: 64)
        file.preTokenizer = sequence("pretokenizers", of: expression, count: 8)
        _ = try file.tokenizer()
    }

    @Test("A regular expression longer than the limit is refused before it is compiled", .timeLimit(.minutes(2)))
    func longExpressions() throws {
        func split(_ count: Int) -> String {
            let expression = String(repeating: "a{1,1000}", count: count)
            return #"{"type": "Split", "pattern": {"Regex": "\#(expression)"}, "behavior": "Isolated"}"#
        }
        #expect(try refusal { $0.preTokenizer = split(150_000) }.key == "pre_tokenizer.pattern.Regex")
        var file = ByteLevelFile()
        file.preTokenizer = split(900)
        _ = try file.tokenizer()
    }

    @Test("Added tokens that normalization makes long are refused, and so are too many bytes of them")
    func longAddedTokens() throws {
        let longer =
            #"{"type": "Replace", "pattern": {"String": "a"}, "content": "\#(String(repeating: "b", count: 1000))"}"#
        func added(_ id: Int, _ content: String) -> String {
            #"{"id": \#(id), "content": "\#(content)", "normalized": true}"#
        }
        #expect(
            try refusal {
                $0.normalizer = longer
                $0.addedTokens = [added(7, "xa"), added(8, "aa")]
            }.key == "added_tokens[1].content"
        )
        #expect(
            try refusal {
                $0.normalizer = longer
                $0.addedTokens = (0..<5000).map { added(10 + $0, "a\($0)") }
            }.key.hasPrefix("added_tokens[")
        )
    }

    @Test("A pipe in place of the file is refused, not waited for", .timeLimit(.minutes(2)))
    func pipe() throws {
        try withDirectory([:]) { directory in
            let path = directory.appending(path: "tokenizer.json").path
            #expect(mkfifo(path, 0o600) == 0)
            #expect(throws: FileError.notARegularFile(file: path)) {
                _ = try loadTokenizer(from: directory)
            }
        }
    }

    @Test("A file cut off anywhere is refused, never crashes")
    func truncated() throws {
        let data = ByteLevelFile().data
        for length in stride(from: 0, to: data.count - 1, by: 7) {
            #expect(throws: TokenizerError.self) {
                _ = try withDirectory(["tokenizer.json": data.prefix(length)]) { try loadTokenizer(from: $0) }
            }
        }
    }

    private let template = """
        {"type": "Sequence", "processors": [{"type": "ByteLevel"}, {"type": "TemplateProcessing",
          "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
          "special_tokens": {"<s>": {"id": "<s>", "ids": [7]}, "</s>": {"id": "</s>", "ids": [8]}}}]}
        """
    private let special = [
        #"{"id": 7, "content": "<s>", "special": true}"#, #"{"id": 8, "content": "</s>", "special": true}"#,
    ]

    @Test("The template puts its tokens around a text, and names BOS and EOS where no other file does")
    func templates() throws {
        var file = ByteLevelFile()
        file.addedTokens = special
        file.postProcessor = template
        let tokenizer = try file.tokenizer()
        #expect(try tokenizer.encode("ab", addSpecialTokens: true) == [7, 3, 8])
        #expect(try tokenizer.encode("ab", addSpecialTokens: false) == [3])
        #expect(try tokenizer.encode("", addSpecialTokens: true) == [7, 8])
        #expect(tokenizer.beginOfSequence == 7)
        #expect(tokenizer.endOfSequence == 8)
        #expect(tokenizer.vocabularySize == 9)
        #expect(tokenizer.decode([7, 3, 8], skipSpecialTokens: true) == "ab")
        let unknownID = template.replacing("[8]", with: "[99]")
        #expect(
            try refusal {
                $0.postProcessor = unknownID
                $0.addedTokens = special
            }.key == "post_processor"
        )
    }

    @Test("special_tokens_map.json, then tokenizer_config.json, name BOS and EOS")
    func namedTokens() throws {
        var file = ByteLevelFile()
        file.addedTokens = special
        let tokenizer = try withDirectory([
            "tokenizer.json": file.data,
            "tokenizer_config.json": Data(#"{"bos_token": {"content": "<s>"}, "eos_token": null}"#.utf8),
            "special_tokens_map.json": Data(#"{"bos_token": "a", "eos_token": "</s>"}"#.utf8),
        ]) { try loadTokenizer(from: $0) }
        #expect(tokenizer.beginOfSequence == 0, "what transformers 5.24 takes for BOS")
        #expect(tokenizer.endOfSequence == 8)
        let error = #expect(throws: TokenizerError.self) {
            let files = ["tokenizer.json": file.data, "tokenizer_config.json": Data(#"{"bos_token": 7}"#.utf8)]
            _ = try withDirectory(files) { try loadTokenizer(from: $0) }
        }
        #expect(error?.errorDescription?.contains("tokenizer_config.json: bos_token: expected a string") == true)
    }

    @Test("add_bos_token and add_eos_token change nothing where there is a template")
    func flags() throws {
        var file = ByteLevelFile()
        file.addedTokens = special
        file.postProcessor = template
        let tokenizer = try withDirectory([
            "tokenizer.json": file.data,
            "tokenizer_config.json": Data(#"{"add_bos_token": false, "add_eos_token": false}"#.utf8),
        ]) { try loadTokenizer(from: $0) }
        #expect(try tokenizer.encode("ab", addSpecialTokens: true) == [7, 3, 8])
    }

    @Test("A directory without a tokenizer is refused; its tokenizer's files are listed by name")
    func directories() throws {
        try withDirectory(["tokenizer_config.json": Data("{}".utf8), "config.json": Data(), "vocab.json": Data()]) {
            directory in
            #expect(throws: TokenizerError.notFound(directory: directory.path)) {
                _ = try loadTokenizer(from: directory)
            }
            #expect(
                try tokenizerFiles(in: directory).map(\.lastPathComponent) == ["tokenizer_config.json", "vocab.json"])
        }
    }
}
