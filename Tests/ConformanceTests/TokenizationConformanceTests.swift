import Foundation
import TestSupport
import Testing

@testable import Tokenization

/// Ids and text against Hugging Face's `tokenizers` (../shared/data/tokenizer_cases/README.md).
@Suite(
    "Tokenizers give the reference's ids and text",
    .enabled(if: SharedData.isPresent, "the reference data (../shared) is not there")
)
struct TokenizationConformanceTests {
    struct Cases: Decodable {
        struct Case: Decodable {
            let category: String
            let text: String
            let ids: [Int]
            let idsWithSpecial: [Int]
            let decoded: String
        }
        let cases: [Case]
    }

    static func cases(_ name: String) throws -> [Cases.Case] {
        let data = try Data(contentsOf: SharedData.url("data/tokenizer_cases/\(name).json"))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(Cases.self, from: data).cases
    }

    /// The folder of a tokenizer. Qwen2's file is packed and is unpacked into a temporary folder first.
    static func withDirectory(_ name: String, _ body: (URL) throws -> Void) throws {
        if name == "stories260K" { return try body(SharedData.url("models/stories260K")) }
        let folder = SharedData.url("models/tokenizers/\(name)")
        let packed = folder.appending(path: "tokenizer.json.gz")
        guard FileManager.default.fileExists(atPath: packed.path) else { return try body(folder) }
        try withTemporaryDirectory { temporary in
            let unpacked = temporary.appending(path: "tokenizer.json")
            _ = FileManager.default.createFile(atPath: unpacked.path, contents: nil)
            let gzip = Process()
            gzip.executableURL = URL(filePath: "/usr/bin/gzip")
            gzip.arguments = ["-dc", packed.path]
            gzip.standardOutput = try FileHandle(forWritingTo: unpacked)
            try gzip.run()
            gzip.waitUntilExit()
            try #require(gzip.terminationStatus == 0)
            try body(temporary)
        }
    }

    private static func withTemporaryDirectory(_ body: (URL) throws -> Void) throws {
        let temporary = FileManager.default.temporaryDirectory.appending(path: "onebit-tokenizer-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: temporary, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: temporary) }
        try body(temporary)
    }

    static func isSame(_ text: String, _ expected: String) -> Bool { text.utf8.elementsEqual(expected.utf8) }

    static func check(
        _ tokenizer: some Tokenizer,
        against cases: [Cases.Case],
        ids: (Cases.Case) -> [Int]
    ) throws {
        for (index, example) in cases.enumerated() {
            let expected = ids(example)
            let encoded = try tokenizer.encode(example.text, addSpecialTokens: false)
            #expect(encoded == expected, "case \(index) (\(example.category)): \(example.text.debugDescription)")

            var stream = StreamingDecoder(tokenizer: tokenizer, skipSpecialTokens: false)
            let pieces = example.ids.map { stream.append($0) } + [stream.finish()]
            let whole = tokenizer.decode(example.ids, skipSpecialTokens: false)
            #expect(isSame(pieces.joined(), whole), "case \(index) (\(example.category)), streamed")
        }
    }

    /// Ids, ids with special tokens, and decoded text.
    static func checkEverything(of tokenizer: any Tokenizer, _ name: String) throws {
        let cases = try cases(name)
        #expect(cases.count == 150)
        try check(tokenizer, against: cases, ids: \.ids)
        for (index, example) in cases.enumerated() {
            let withSpecial = try tokenizer.encode(example.text, addSpecialTokens: true)
            #expect(withSpecial == example.idsWithSpecial, "case \(index) (\(example.category))")
            let decoded = tokenizer.decode(example.ids, skipSpecialTokens: false)
            #expect(isSame(decoded, example.decoded), "case \(index) (\(example.category)), decoded")
        }
    }

    @Test(
        "tokenizer.json: ids with and without special tokens, and decoded text, of every case",
        arguments: ["stories260K", "llama", "gpt2", "opt-style", "llama3-style", "qwen2"]
    )
    func tokenizerFile(name: String) throws {
        try Self.withDirectory(name) { try Self.checkEverything(of: try loadTokenizer(from: $0), name) }
    }

    /// The published OPT models have no tokenizer.json; what they have was read by transformers 5.23.0, which gave the ids of
    /// the cases too.
    @Test(
        "vocab.json and merges.txt: ids with and without special tokens, and decoded text, of every case",
        arguments: [
            ("gpt2", "{}"),
            (
                "opt-style",
                #"""
                {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "add_prefix_space": false,
                 "bos_token": {"content": "</s>", "normalized": true}, "eos_token": {"content": "</s>"},
                 "unk_token": {"content": "</s>"}, "pad_token": {"content": "<pad>"}}
                """#
            ),
        ]
    )
    func vocabularyFiles(name: String, configuration: String) throws {
        let source = SharedData.url("models/tokenizers/\(name)")
        try Self.withTemporaryDirectory { directory in
            for file in ["vocab.json", "merges.txt"] {
                try FileManager.default.copyItem(
                    at: source.appending(path: file), to: directory.appending(path: file))
            }
            try Data(configuration.utf8).write(to: directory.appending(path: "tokenizer_config.json"))
            try Self.checkEverything(of: try loadTokenizer(from: directory), name)
        }
    }

    @Test("tokenizer.model: ids of every case", arguments: ["stories260K", "llama"])
    func sentencePieceModel(name: String) throws {
        try Self.withDirectory(name) { directory in
            let model = directory.appending(path: "tokenizer.model")
            let tokenizer = try BytePairTokenizer(tokenizerModel: model)
            let cases = try Self.cases(name)
            // What a text spells of control pieces is found as transformers does, and not read as text as sentencepiece does.
            try Self.check(tokenizer, against: cases, ids: \.ids)
            #expect(tokenizer.beginOfSequence == 1)
            #expect(tokenizer.endOfSequence == 2)
            for example in cases {
                #expect(try tokenizer.encode(example.text, addSpecialTokens: true) == example.idsWithSpecial)
                #expect(Self.isSame(tokenizer.decode(example.ids, skipSpecialTokens: false), example.decoded))
            }
        }
    }

    /// What the cases expect: ids of transformers 5.23.
    @Test(
        "Tokens that the files beside a vocabulary name are found in texts",
        arguments: [
            ("added-tokens-json", "<|im_start|>user\nHi<|im_end|>", [1, 512, 318, 419, 285, 13, 440, 417, 513]),
            ("decoder-beyond-tokenizer-json", "Hello<|im_end|>", [1, 346, 306, 414, 513]),
            ("special-in-text-model", "a </s> b", [1, 261, 410, 2, 268]),
            ("unk-not-in-vocabulary", "Hello", [1, 346, 306, 414]),
            ("eos-not-in-tokenizer-json", "Hello<|im_end|>", [1, 346, 306, 414, 512]),
        ]
    )
    func cases(name: String, text: String, ids: [Int]) throws {
        let tokenizer = try loadTokenizer(from: SharedData.url("cases/\(name)/m"))
        #expect(try tokenizer.encode(text, addSpecialTokens: true) == ids)
    }

    @Test(
        "Vocabulary sizes, BOS and EOS",
        arguments: [
            ("stories260K", 512, 1, 2), ("llama", 32000, 1, 2), ("gpt2", 50257, nil, nil), ("opt-style", 50260, 2, nil),
            ("llama3-style", 50261, 50256, nil), ("qwen2", 151646, nil, nil),
        ] as [(String, Int, Int?, Int?)]
    )
    func sizes(name: String, size: Int, beginOfSequence: Int?, endOfSequence: Int?) throws {
        try Self.withDirectory(name) { directory in
            let tokenizer = try loadTokenizer(from: directory)
            #expect(tokenizer.vocabularySize == size)
            #expect(tokenizer.beginOfSequence == beginOfSequence)
            #expect(tokenizer.endOfSequence == endOfSequence)
        }
    }
}
