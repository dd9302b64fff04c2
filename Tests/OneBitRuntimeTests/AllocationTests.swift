import CAllocationCounter
import Foundation
import ModelDescription
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
/// In release builds, which is what runs: without optimization Swift allocates for generic code. `make test-release`.
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
            let tiny = try TinyPackedModel(
                ModelConfiguration(
                    vocabularySize: tokenizer.vocabularySize, hiddenSize: 20, intermediateSize: 27, layerCount: 2,
                    attentionHeadCount: 2, keyValueHeadCount: 1, maximumPositions: 64, tiedEmbeddings: false,
                    endOfSequence: []))
            let model = try tiny.model(threads: threads)
            var counts: [Int] = []
            counts.reserveCapacity(64)
            var longest = 0
            let info = try generate(
                prompt: tiny.tokens(5), model: model, tokenizer: tokenizer, parameters: parameters
            ) { piece in
                longest = max(longest, piece.utf8.count)
                counts.append(Int(allocation_counter_value()))
            }
            // Longer strings are not stored in place: to make one is to allocate.
            try #require(counts.count > 40 && longest <= 15)
            // The first tokens make the buffers that are kept; the last piece is of the end.
            let steps = zip(counts.dropFirst(), counts).map { $0 - $1 }
            #expect(steps[20..<steps.count - 1].allSatisfy { $0 == 0 }, "\(steps)")
            #expect(info.stepCount > 40)
        }
    }
}

/// Tokenizers of some tokens, as files have them.
private enum TinyTokenizer {
    /// GPT-2's pipeline: bytes spelled as characters.
    static func byteLevel() throws -> any Tokenizer {
        // Letters, spaces and what they were merged to: a random model would otherwise write bytes that are no text.
        let letters = "abcdefghijklmnopqrstuvwxyz.,!?".map(String.init) + ["Ġ", "Ġa", "th", "Ġthe", "Ċ", "Ã©"]
        return try loaded(
            Data(
                try """
                {"decoder": {"type": "ByteLevel"}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
                 "model": {"type": "BPE", "vocab": \(vocabulary(letters)), "merges": []}}
                """.utf8))
    }

    /// LLaMA-2's pipeline: a visible space, and bytes as a fallback.
    static func sentencePiece() throws -> any Tokenizer {
        let pieces =
            ["<unk>", "<0x0A>", "▁", "▁a", "▁the"] + "abcdefghijklmnopqrstuvwxyz.,!?".map(String.init)
        return try loaded(
            Data(
                try """
                {"normalizer": {"type": "Sequence", "normalizers": [
                  {"type": "Prepend", "prepend": "▁"},
                  {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
                 "decoder": {"type": "Sequence", "decoders": [
                  {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
                 "model": {"type": "BPE", "byte_fallback": true, "fuse_unk": true, "unk_token": "<unk>",
                  "vocab": \(vocabulary(pieces)), "merges": []}}
                """.utf8))
    }

    private static func vocabulary(_ pieces: [String]) throws -> String {
        let ids = Dictionary(uniqueKeysWithValues: pieces.enumerated().map { ($1, $0) })
        return String(decoding: try JSONEncoder().encode(ids), as: UTF8.self)
    }

    private static func loaded(_ file: Data) throws -> any Tokenizer {
        let directory = try TemporaryDirectory(["tokenizer.json": file])
        return try loadTokenizer(from: directory.url)
    }
}
