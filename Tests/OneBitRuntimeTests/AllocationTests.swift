import CAllocationCounter
import Foundation
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel
@testable import OneBitRuntime

#if DEBUG
    private let isOptimized = false
#else
    private let isOptimized = true
#endif

/// The decode loop allocates nothing per token.
///
/// In release builds, which is what runs: without optimisation Swift allocates for generic code. `make test-release`.
@Suite(.enabled(if: isOptimized, "allocations are counted in release builds: make test-release"))
struct AllocationTests {
    @Test("The counter counts")
    func counter() {
        guard allocation_counter_is_active() else { return }
        let before = allocation_counter_value()
        let array = [Int](repeating: 1, count: Int.random(in: 100...101))
        #expect(allocation_counter_value() > before)
        #expect(array.count >= 100)
    }

    @Test(
        "Decoding a batch allocates nothing, with one thread or two, dynamic rotary scaling included",
        arguments: [1, 2])
    func decoding(threads: Int) throws {
        for tiny in [
            try TinyPackedModel(maximumPositions: 80), try TinyPackedModel(TinyFamily.dynamic.configuration()),
        ] {
            let model = try tiny.model(threads: threads)
            let context = try model.makeDecodingContext(
                DecodingLimits(sequences: 2, positions: 80, batchTokens: 90, logitRows: 2))
            let ids = [try context.makeSequence(capacity: 80), try context.makeSequence(capacity: 80)]
            var batch = TokenBatch(capacity: 90)
            for id in ids { batch.append(tiny.tokens(45), to: id, sequenceLength: 45, logits: .last) }
            try context.decode(batch)
            func step(_ length: Int) throws {
                batch.removeAll()
                for id in ids { batch.append(CollectionOfOne(7), to: id, sequenceLength: length, logits: .last) }
                try context.decode(batch)
            }
            for length in 46..<50 { try step(length) }
            let before = allocation_counter_value()
            for length in 50..<70 { try step(length) }
            #expect(allocation_counter_value() == before)
        }
    }

    @Test(
        "Generating a token and its text allocates nothing, greedily or with every filter, with one thread or two",
        arguments: [
            GenerateParameters(temperature: 0, stopStrings: ["no such text"]),
            GenerateParameters(temperature: 0.9, topK: 20, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1),
            GenerateParameters(temperature: 0.9, topP: 0.9),
        ], [1, 2])
    func generation(parameters: GenerateParameters, threads: Int) throws {
        for tokenizer in [try TinyTokenizer.byteLevel(), try TinyTokenizer.sentencePiece()] {
            let tiny = try TinyPackedModel(vocabularySize: tokenizer.vocabularySize, maximumPositions: 64)
            let model = try tiny.model(threads: threads)
            var counts: [Int] = []
            counts.reserveCapacity(64)
            // Special tokens have no text, and bytes that are not characters yet are held back.
            let info = try generate(
                prompt: tiny.tokens(5), model: model, tokenizer: tokenizer, parameters: parameters
            ) { _ in counts.append(Int(allocation_counter_value())) }
            try #require(counts.count > 12)
            // The first tokens make the buffers that are kept; the last piece may be of the end.
            #expect(counts[counts.count - 2] == counts[8])
            #expect(info.stepCount > 20)
        }
    }
}

/// Tokenizers of some tokens, as files have them.
private enum TinyTokenizer {
    /// GPT-2's pipeline: every byte is a token.
    static func byteLevel() throws -> any Tokenizer {
        try loaded(BytePairTrainer.train(texts: ["a story of a cat"], vocabularySize: 270))
    }

    /// LLaMA-2's pipeline: a visible space, and bytes as a fallback.
    static func sentencePiece() throws -> any Tokenizer {
        let pieces =
            ["<unk>", "<s>", "</s>"] + (0..<256).map { String(format: "<0x%02X>", $0) }
            + ["▁"] + "abcdefghijklmnopqrstuvwxyz.,!?".map(String.init)
        let vocabulary = Dictionary(uniqueKeysWithValues: pieces.enumerated().map { ($1, $0) })
        let encoded = String(decoding: try JSONEncoder().encode(vocabulary), as: UTF8.self)
        return try loaded(
            Data(
                """
                {"normalizer": {"type": "Sequence", "normalizers": [
                  {"type": "Prepend", "prepend": "▁"},
                  {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
                 "decoder": {"type": "Sequence", "decoders": [
                  {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
                 "model": {"type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>",
                  "vocab": \(encoded), "merges": []}}
                """.utf8))
    }

    private static func loaded(_ file: Data) throws -> any Tokenizer {
        let directory = try TemporaryDirectory(["tokenizer.json": file])
        return try loadTokenizer(from: directory.url)
    }
}
