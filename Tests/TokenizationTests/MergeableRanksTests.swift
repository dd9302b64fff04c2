import Foundation
import JSON
import ModelFiles
import TensorFiles
import Testing

@testable import Tokenization

/// The key and the text of the error that a tokenizer's file gets.
private func refusal(_ body: () throws -> Void) -> (key: String, text: String) {
    let error = #expect(throws: TokenizerError.self) { try body() }
    switch error {
    case .malformed(_, let key, _), .unsupported(_, let key, _, _): return (key, error?.errorDescription ?? "")
    default: return ("", "\(String(describing: error))")
    }
}

private func checkDecoding(_ tokenizer: some Tokenizer, _ cases: [MergeableRanksReference.Case]) {
    for example in cases {
        let text = tokenizer.decode(example.ids, skipSpecialTokens: false)
        #expect(text.utf8.elementsEqual(example.text.utf8), "\(example.ids)")
        var stream = StreamingDecoder(tokenizer: tokenizer, skipSpecialTokens: false)
        let streamed = example.ids.map { stream.append($0) }.joined() + stream.finish()
        #expect(streamed.utf8.elementsEqual(text.utf8), "\(example.ids), streamed")
    }
}

@Suite("tokenizer.model in tiktoken's form")
struct TiktokenFileTests {
    private let reference = MergeableRanksReference.shared

    @Test("Ids and texts are tiktoken's: merges by rank, tokens that no merge gives, special tokens in texts")
    func golden() throws {
        let tokenizer = try TiktokenLines().tokenizer()
        for example in reference.tiktoken.cases {
            let ids = try tokenizer.encode(example.text, addSpecialTokens: false)
            #expect(ids == example.ids, "\(example.text.debugDescription)")
        }
        checkDecoding(tokenizer, reference.tiktoken.decoded)
        let begin = reference.tokens.count
        #expect(tokenizer.vocabularySize == begin + reference.tiktoken.specialTokens.count)
        #expect((tokenizer.beginOfSequence, tokenizer.endOfSequence) == (begin, begin + 1))
        #expect(try tokenizer.encode("", addSpecialTokens: true) == [begin])
        #expect(tokenizer.decode([begin, 0x41, begin + 1], skipSpecialTokens: true) == "A")
        #expect(try tokenizer.encode([.text("<|eot_id|>")]).count > 1, "text of others has no special tokens")
    }

    @Test("What tokenizer_config.json says counts first: names of ids, EOS, what is put around a text")
    func configuration() throws {
        let begin = reference.tokens.count
        let tokenizer = try TiktokenLines().tokenizer([
            "tokenizer_config.json": """
            {"added_tokens_decoder": {"\(begin + 2)": {"content": "<|pad|>", "special": true},
                                      "\(begin + 40)": {"content": "<|python_tag|>", "special": true}},
             "eos_token": "<|eot_id|>", "add_bos_token": false, "add_eos_token": true}
            """
        ])
        #expect(tokenizer.id(of: "<|pad|>") == begin + 2)
        #expect(tokenizer.id(of: "<|reserved_special_token_0|>") == nil)
        #expect(tokenizer.id(of: "<|python_tag|>") == begin + 40)
        #expect(tokenizer.endOfSequence == begin + 5)
        #expect(try tokenizer.encode("A", addSpecialTokens: true) == [0x41, begin + 5])
    }

    /// The ids are those of `llama-models` 0.3.0.
    @Test(
        "A directory's tokenizer.model of 128,000 tokens is LLaMA 3's, with its 256 special tokens; of others it is refused"
    )
    func llama3() throws {
        // Every byte, every two, and as many threes as are missing.
        var lines: [String] = []
        func append(_ bytes: [UInt8]) { lines.append("\(Data(bytes).base64EncodedString()) \(lines.count)") }
        for byte in UInt8.min...UInt8.max { append([byte]) }
        for pair in UInt16.min...UInt16.max { append([UInt8(pair >> 8), UInt8(pair & 0xFF)]) }
        for triple in UInt16.min..<62_208 { append([0x61, UInt8(triple >> 8), UInt8(triple & 0xFF)]) }
        let file = Data(lines.joined(separator: "\r\n").utf8)
        let tokenizer = try withDirectory(["tokenizer.model": file]) { try loadTokenizer(from: $0) }
        #expect(tokenizer.vocabularySize == 128_256)
        #expect((tokenizer.beginOfSequence, tokenizer.endOfSequence) == (128_000, 128_001))
        let named = [
            "<|begin_of_text|>": 128_000, "<|end_of_text|>": 128_001, "<|reserved_special_token_1|>": 128_003,
            "<|finetune_right_pad_id|>": 128_004, "<|start_header_id|>": 128_006, "<|end_header_id|>": 128_007,
            "<|eom_id|>": 128_008, "<|eot_id|>": 128_009, "<|python_tag|>": 128_010,
            "<|reserved_special_token_2|>": 128_012, "<|reserved_special_token_245|>": 128_255,
        ]
        for (token, id) in named {
            #expect(try tokenizer.encode(token, addSpecialTokens: false) == [id])
            #expect(tokenizer.token(of: id) == token)
        }
        #expect(
            try tokenizer.encode("aBC", addSpecialTokens: true) == [128_000, 256 + 65_536 + 0x4243])
        let shorter = Data(lines.dropLast().joined(separator: "\n").utf8)
        let error = refusal { _ = try withDirectory(["tokenizer.model": shorter]) { try loadTokenizer(from: $0) } }
        #expect(error.text.contains("vocabulary of 127999 tokens is not supported; supported: LLaMA 3's of 128000"))
    }

    @Test("Broken lines are refused by number, and vocabularies that cannot spell every text")
    func refusals() throws {
        func refused(_ change: (inout [String]) -> Void) -> (key: String, text: String) {
            var file = TiktokenLines()
            change(&file.lines)
            return refusal { _ = try file.tokenizer() }
        }
        let truncated = refused { $0[300] = "QUJ 300" }
        #expect(truncated.key == "line 301")
        #expect(truncated.text.contains("\"QUJ\" is not base 64"))
        #expect(refused { $0[300] = "Q=JD 300" }.key == "line 301")
        #expect(refused { $0[300] = "QUJ\u{E9} 300" }.key == "line 301")
        #expect(refused { $0[300] = "==== 300" }.key == "line 301")
        #expect(refused { $0[300] = " 300" }.text.contains("line 301: 0 bytes; expected 1 to 256"))
        #expect(
            refused { $0[300] = "QUJD" }.text.contains("line 301: expected a token in base 64, a space and its rank"))
        #expect(refused { $0[300] = "QUJD  300" }.key == "line 301")
        #expect(refused { $0[300] = "QUJD 3e2" }.key == "line 301")
        #expect(refused { $0[300] = "" }.key == "line 301")
        #expect(refused { $0[300] = "QUJD 299" }.text.contains("line 301: has rank 299, which line 300 has already"))
        #expect(refused { $0[300] = "QUJD 301" }.text.contains("line 301: has rank 301; expected 300"))
        #expect(refused { $0[300] = "QUJD -1" }.text.contains("line 301: has rank -1; expected 300"))
        #expect(refused { $0[300] = "QUJD 99999999999999999999" }.key == "line 301")
        #expect(refused { $0[300] = "QQ== 300" }.text.contains("line 301: the same bytes as line 66"))
        let long = Data(repeating: 0x61, count: 257).base64EncodedString()
        #expect(refused { $0[300] = "\(long) 300" }.text.contains("line 301: 257 bytes; expected 1 to 256"))
        #expect(refused { $0[65] = "QUJDREU= 65" }.text.contains("no token is the byte 65 alone"))
        #expect(refused { $0.removeLast() }.text.contains("LLaMA 3"))
    }

    @Test("More tokens than the limit, and more bytes of them, are refused while they are read")
    func manyTokens() {
        var longTokens = MergeableRanks(file: "tokenizer.model") { "line \($0 + 1)" }
        let longToken = Array(Data(repeating: 0x61, count: 256).base64EncodedString().utf8)
        let longError = refusal {
            for rank in 0... { try longTokens.append(base64: longToken, rank: rank) }
        }
        #expect(longError.key == "line 32769")
        #expect(longError.text.contains("more than 8388608 bytes of tokens"))
        var ranks = MergeableRanks(file: "tokenizer.model") { "line \($0 + 1)" }
        let token = Array("QQ==".utf8)
        let error = refusal {
            for rank in 0... { try ranks.append(base64: token, rank: rank) }
        }
        #expect(error.key == "line 1048577")
        #expect(error.text.contains("more than 1048576 tokens"))
    }

    @Test(
        "A tokenizer.model of neither kind, and vocabularies that only a model's own code reads, are refused with a way out"
    )
    func otherFiles() {
        func refused(_ name: String, _ content: String) -> (key: String, text: String) {
            refusal { _ = try withDirectory([name: Data(content.utf8)]) { try loadTokenizer(from: $0) } }
        }
        for content in ["not a model", "QQ==\nQg==\n", "QQ== zero\n", "{}"] {
            let text = refused("tokenizer.model", content).text
            #expect(text.contains("neither a SentencePiece model") && text.contains("nor a tiktoken vocabulary"))
        }
        for name in ["qwen.tiktoken", "tiktoken.model"] {
            let text = refused(name, "QQ== 0\n").text
            #expect(text.contains(name) && text.contains("tokenizer.json"))
        }
    }
}

@Suite("tekken.json")
struct TekkenFileTests {
    private let reference = MergeableRanksReference.shared

    @Test("Ids and texts are mistral-common's, in files of every generation", arguments: [0, 1, 2])
    func golden(index: Int) throws {
        let expected = reference.tekken[index]
        let tokenizer = try TekkenObject(expected).tokenizer()
        for example in expected.cases {
            let ids = try tokenizer.encode([.text(example.text)])
            #expect(ids == example.ids, "\(example.text.debugDescription)")
        }
        checkDecoding(tokenizer, expected.decoded)
        #expect(tokenizer.vocabularySize == expected.size)
        #expect((tokenizer.beginOfSequence, tokenizer.endOfSequence) == (expected.begin, expected.end))
        for (id, token) in expected.specialTokens.enumerated() {
            #expect(tokenizer.token(of: id) == token)
            #expect(try tokenizer.encode(token, addSpecialTokens: true) == [expected.begin, id])
            #expect(tokenizer.decode([id], skipSpecialTokens: true).isEmpty)
        }
    }

    @Test("The order of the members, and what is not of the format, change nothing")
    func members() throws {
        var file = try TekkenObject()
        file.vocabulary = file.vocabulary.map { token in
            JSONObject([
                ("extra", .array([.null])), ("token_str", .string("x")), ("token_bytes", token["token_bytes"] ?? .null),
                ("rank", token["rank"] ?? .null),
            ])
        }
        let vocabulary = JSONValue.array(file.vocabulary.map { .object($0) })
        file.members = JSONObject(
            [("type", .string("Tekken")), ("vocab", vocabulary)] + file.members.members.map { ($0.key, $0.value) })
        let tokenizer = try file.tokenizer([
            "tokenizer_config.json": #"{"add_bos_token": false, "eos_token": "[INST]"}"#
        ])
        let example = reference.tekken[0].cases[3]
        #expect(try tokenizer.encode(example.text, addSpecialTokens: true) == example.ids)
        #expect(tokenizer.endOfSequence == 3)
    }

    @Test("Broken files are refused by key")
    func refusals() throws {
        func refused(_ change: (inout TekkenObject) -> Void) throws -> (key: String, text: String) {
            var file = try TekkenObject()
            change(&file)
            return refusal { _ = try file.tokenizer() }
        }
        #expect(try refused { $0.vocabulary[300]["rank"] = .integer(301) }.key == "vocab[300]")
        #expect(try refused { $0.vocabulary[300]["rank"] = .integer(-1) }.text.contains("has rank -1; expected 300"))
        #expect(try refused { $0.vocabulary[300]["rank"] = .string("300") }.key == "vocab[300].rank")
        #expect(try refused { $0.vocabulary[300]["rank"] = nil }.key == "vocab[300].rank")
        #expect(try refused { $0.vocabulary[300]["token_bytes"] = .null }.key == "vocab[300].token_bytes")
        #expect(try refused { $0.vocabulary[300]["token_bytes"] = nil }.key == "vocab[300].token_bytes")
        #expect(try refused { $0.vocabulary[300]["token_bytes"] = .string("QUJ") }.text.contains("not base 64"))
        #expect(
            try refused { $0.vocabulary[300]["token_bytes"] = .string("QQ==") }.text.contains(
                "the same bytes as vocab[65]"))
        #expect(
            try refused { $0.vocabulary[65]["token_bytes"] = .string("QUJDREU=") }.text.contains("the byte 65 alone"))
        #expect(try refused { $0.members["vocab"] = .array([.integer(1)]) }.key == "vocab[0]")
        #expect(try refused { $0.members["vocab"] = .object(JSONObject()) }.key == "vocab")
        #expect(try refused { $0.members["config"] = nil }.key == "config.default_num_special_tokens")
        #expect(try refused { $0[config: "default_vocab_size"] = .integer(1 << 20) }.key == "config.default_vocab_size")
        #expect(try refused { $0[config: "default_vocab_size"] = .integer(23) }.key == "config.default_vocab_size")
        #expect(try refused { $0[config: "default_vocab_size"] = .integer(100) }.text.contains("the byte 76 alone"))
        for count in [-1, 19, 1 << 40] {
            let key = try refused { $0[config: "default_num_special_tokens"] = .integer(count) }.key
            #expect(key == "config.default_num_special_tokens")
        }
        #expect(try refused { $0[config: "pattern"] = nil }.key == "config.pattern")
        let pattern = try refused { $0[config: "pattern"] = .string(#"(?<=\p{L}+)\K|("#) }
        #expect(pattern.key == "config.pattern")
        #expect(pattern.text.contains(#"not a regular expression: (?<=\p{L}+)\K|("#))
        #expect(try refused { $0[config: "version"] = .string("v11") }.key == "special_tokens")

        func special(_ tokens: [(rank: Int, content: String)]) -> JSONValue {
            .array(
                tokens.map { .object(JSONObject([("rank", .integer($0.rank)), ("token_str", .string($0.content))])) })
        }
        #expect(try refused { $0.members["special_tokens"] = special([(1, "<s>")]) }.key == "special_tokens[0].rank")
        #expect(
            try refused { $0.members["special_tokens"] = special([(0, "<s>"), (1, "<s>")]) }.text.contains("two ids"))
        #expect(try refused { $0.members["special_tokens"] = .array([.string("<s>")]) }.key == "special_tokens[0].rank")
        let long = String(repeating: "x", count: 2000)
        #expect(try refused { $0.members["special_tokens"] = special([(0, long)]) }.text.contains("2000 bytes long"))
        for data in [Data("{".utf8), Data("[]".utf8), Data([0xFF]), try TekkenObject().data.dropLast(9)] {
            #expect(throws: TokenizerError.self) {
                try withDirectory(["tekken.json": data]) { try loadTokenizer(from: $0) }
            }
        }
    }

    @Test(
        "tokenizer.json goes first; tekken.json is among the files that are copied; without a template it says what to do"
    )
    func directories() throws {
        let files = ["tekken.json": try TekkenObject().data, "tokenizer.json": ByteLevelFile().data]
        try withDirectory(files) { directory in
            #expect(try loadTokenizer(from: directory).vocabularySize == 7)
            #expect(try tokenizerFiles(in: directory).map(\.lastPathComponent) == ["tekken.json", "tokenizer.json"])
            #expect(throws: ChatTemplateError.notFound(directory: directory.path)) {
                try ChatTemplate(directory: directory)
            }
            try FileManager.default.removeItem(at: directory.appending(path: "tokenizer.json"))
            let error = #expect(throws: ChatTemplateError.notFoundBesideTekken(directory: directory.path)) {
                try ChatTemplate(directory: directory)
            }
            #expect(error?.errorDescription?.contains("Put a chat_template.jinja beside it") == true)
        }
    }

    @Test("Templates see BOS and EOS of tekken.json, and LLaMA 3's of tokenizer.model, unless a file names others")
    func templateTokens() throws {
        func text(_ files: [String: String]) throws -> String {
            let template = ["chat_template.jinja": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"]
            return try withDirectory(files.merging(template) { $1 }.mapValues { Data($0.utf8) }) { directory in
                try ChatTemplate(directory: directory)
                    .text(of: [ChatMessage(role: .user, content: "x")], addGenerationPrompt: false)
            }
        }
        #expect(try text(["tekken.json": "{}"]) == "<s>x</s>")
        #expect(try text(["tokenizer.model": "IQ== 0\n"]) == "<|begin_of_text|>x<|end_of_text|>")
        let names = #"{"eos_token": "<|eot_id|>"}"#
        #expect(
            try text(["tokenizer.model": "IQ== 0\n", "tokenizer_config.json": names]) == "<|begin_of_text|>x<|eot_id|>")
        #expect(try text(["tekken.json": "{}", "tokenizer.json": "{}"]) == "x")
    }

    @Test("A GGUF file that is written names the way to cut texts, whatever file the tokenizer comes from")
    func namesForGGUF() throws {
        func name(_ tokenizer: any Tokenizer) throws -> String {
            let tokenizer = try #require(tokenizer as? BytePairTokenizer)
            return try tokenizer.ggufPreTokenizer.name(ofTokenizerIn: URL(filePath: "/model"))
        }
        #expect(try name(try TiktokenLines().tokenizer()) == "llama-bpe")
        #expect(try name(try TekkenObject().tokenizer()) == "tekken")
        #expect(try name(try ByteLevelFile().tokenizer()) == "gpt-2")
        let other = try TekkenObject(reference.tekken[2]).tokenizer()
        let error = #expect(throws: GGUFError.self) { try name(other) }
        #expect(error?.errorDescription?.contains(#"\p{L}+|\p{N}{1,2}"#) == true)
    }
}
