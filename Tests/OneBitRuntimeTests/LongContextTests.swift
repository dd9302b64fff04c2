import Foundation
import JSON
import ModelDescription
import TestSupport
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

/// Attention over many parts of a sequence, keys and values in 8 bits, and rings of sliding windows.
@Suite struct LongContextTests {
    /// Rings of 768 positions: a window of 5, and 512 positions that can be taken back.
    private func windowed(maximumPositions: Int = 1400) throws -> TinyPackedModel {
        try TinyPackedModel(
            ModelConfiguration(
                JSONObject([
                    ("model_type", .string("mistral")), ("vocab_size", .integer(37)), ("hidden_size", .integer(20)),
                    ("intermediate_size", .integer(27)), ("num_hidden_layers", .integer(2)),
                    ("num_attention_heads", .integer(2)), ("num_key_value_heads", .integer(1)),
                    ("max_position_embeddings", .integer(maximumPositions)), ("sliding_window", .integer(5)),
                    ("tie_word_embeddings", .boolean(false)),
                ])))
    }

    private func model(
        _ tiny: TinyPackedModel, threads: Int = 1, cachePrecision: CachePrecision = .bits16,
        instructionSet: InstructionSet? = nil
    ) throws -> PackedModel {
        try PackedModel(
            directory: tiny.directory,
            options: LoadOptions(
                threads: threads, inputPrecision: .bits16, cachePrecision: cachePrecision,
                instructionSet: instructionSet, layoutPolicy: .memory))
    }

    @Test("Over several parts of a sequence, logits are the plain model's")
    func matchesReference() throws {
        // Small, for the plain model's sake.
        let tiny = try TinyPackedModel(
            hiddenSize: 24, intermediateSize: 32, layerCount: 1, heads: 2, keyValueHeads: 2, maximumPositions: 600)
        let tokens = tiny.tokens(540)
        let expected = ReferenceModel(tiny).logits(of: tokens)
        for precision in CachePrecision.allCases {
            let found = try model(tiny, cachePrecision: precision).logits(of: tokens)
            #expect(relativeError(found, expected) < (precision == .bits16 ? 1e-3 : 0.03))
        }
    }

    @Test("Whoever reads which part, in whatever pieces and with whichever kernels, the bits are the same")
    func sameBits() throws {
        let tiny = try TinyPackedModel(maximumPositions: 600)
        let tokens = tiny.tokens(530)
        for precision in CachePrecision.allCases {
            let whole = try model(tiny, cachePrecision: precision).logits(of: tokens)
            for instructionSet in InstructionSet.available {
                let found = try model(
                    tiny, threads: 3, cachePrecision: precision, instructionSet: instructionSet
                ).logits(of: tokens)
                #expect(found == whole)
            }
            let sequence = try SingleSequence(model(tiny, cachePrecision: precision))
            var start = 0
            for count in [250, 5, 1, 1, 1, 200, 53, 1, 18] {
                let logits = try sequence.read(Array(tokens[start..<start + count]), sequenceLength: tokens.count)
                start += count
                #expect(logits.elementsEqual(whole[(start - 1) * 37..<start * 37]), "at \(start)")
            }
        }
    }

    @Test("Threads that share the positions of one head give the bits of one that has them all")
    func sharedPositions() throws {
        // Large enough for a token of eight sequences to be computed by several threads.
        let tiny = try TinyPackedModel(
            hiddenSize: 256, intermediateSize: 700, layerCount: 3, heads: 4, keyValueHeads: 1, maximumPositions: 600)
        let lengths = [270, 2, 1, 1, 1, 1, 1, 1]
        var found: [[Float]] = []
        for threads in [1, 3] {
            let context = try model(tiny, threads: threads).makeDecodingContext(
                DecodingLimits(sequences: 8, positions: 600, batchTokens: 900, logitRows: 8))
            let ids = try lengths.map { try context.makeSequence(capacity: $0 + 1) }
            var batch = TokenBatch()
            for (index, count) in lengths.enumerated() {
                batch.append(
                    tiny.tokens(count, seed: UInt64(index)), to: ids[index], sequenceLength: count, logits: .none)
            }
            try context.decode(batch)
            batch.removeAll()
            for (index, count) in lengths.enumerated() {
                batch.append([index], to: ids[index], sequenceLength: count + 1, logits: .last)
            }
            try context.decode(batch)
            found.append(try (0..<8).flatMap { row in try context.withLogits(row: row) { Array($0) } })
        }
        #expect(found[0] == found[1])
    }

    @Test("Keys and values in 8 bits take about half the memory, and heads that are too wide for them are refused")
    func cacheSize() throws {
        let tiny = try TinyPackedModel(hiddenSize: 128, heads: 2)
        #expect(try model(tiny).cacheByteCount(positions: 100) == 100 * 2 * 2 * 64 * 2)
        #expect(try model(tiny, cachePrecision: .bits8).cacheByteCount(positions: 100) == 100 * 2 * 2 * (64 + 4))
        let wide = try TinyPackedModel(hiddenSize: 1028, layerCount: 1, heads: 2)
        #expect(
            throws: RuntimeError.headTooWide(directory: wide.directory.path, channels: 514, maximum: 512)
        ) { try model(wide, cachePrecision: .bits8) }
        #expect(throws: Never.self) { try model(wide) }
    }

    @Test("A window's ring gives the plain model's logits far beyond its end, in whatever pieces")
    func ring() throws {
        let tiny = try windowed()
        let model = try model(tiny)
        // 768 positions of 2 layers, keys and values, 16 halves.
        #expect(model.cacheByteCount(positions: 1400) == 768 * 2 * 2 * 16 * 2)
        #expect(model.cacheByteCount(positions: 700) == 700 * 2 * 2 * 16 * 2)
        let tokens = tiny.tokens(900)
        let whole = try model.logits(of: tokens)
        let expected = ReferenceModel(tiny).logits(of: tokens)
        // Half precision is what is left, before the end of the ring and behind it.
        for range in [0..<768 * 37, 768 * 37..<900 * 37] {
            #expect(relativeError(Array(whole[range]), Array(expected[range])) < 3e-3)
        }
        for precision in CachePrecision.allCases {
            let model = try self.model(tiny, threads: 2, cachePrecision: precision)
            let whole = precision == .bits16 ? whole : try model.logits(of: tokens)
            let sequence = try SingleSequence(model)
            var start = 0
            for count in [760, 3, 1, 1, 1, 1, 1, 5, 100, 1, 26] {
                let logits = try sequence.read(Array(tokens[start..<start + count]))
                start += count
                #expect(logits.elementsEqual(whole[(start - 1) * 37..<start * 37]), "at \(start)")
            }
        }
    }

    @Test("A sequence with a ring is taken back as far as the ring reaches, and beyond that to its beginning")
    func rewind() throws {
        let tiny = try windowed()
        let model = try model(tiny)
        let tokens = tiny.tokens(1100)
        let sequence = try SingleSequence(model)
        func truncate(to length: Int) { sequence.context.truncate(sequence.id, to: length) }
        func expectContinues(at length: Int) throws {
            let expected = try model.logits(of: Array(tokens[..<length]) + [7, 8, 9]).suffix(37)
            #expect(try sequence.read([7, 8, 9]).elementsEqual(expected))
        }
        try sequence.read(tokens)
        truncate(to: 1100 - KeyValueCache.rewind)
        #expect(sequence.length == 1100 - KeyValueCache.rewind)
        try expectContinues(at: 1100 - KeyValueCache.rewind)
        // The positions that the longer sequence wrote over are lost although it is shorter now.
        truncate(to: 300)
        #expect(sequence.length == 0)
        try sequence.read(Array(tokens[..<300]))
        truncate(to: 290)
        #expect(sequence.length == 290)
        try expectContinues(at: 290)
        truncate(to: 0)
        #expect(sequence.length == 0)
        try expectContinues(at: 0)
    }

    @Test("Continuations longer than a ring can be taken back are scored as if each had been read alone")
    func scores() throws {
        let tiny = try windowed()
        let model = try model(tiny)
        let request = ContinuationRequest(
            context: tiny.tokens(500),
            continuations: [3, 800, 7].enumerated().map { tiny.tokens($1, seed: UInt64($0)) })
        #expect(isClose(try model.scores(of: [request]), try model.separateScores(of: [request])))
    }

    @Test("A conversation that goes back further than a ring reaches is read again")
    func prefixReuse() async throws {
        let tiny = try windowed()
        let model = try model(tiny)
        let tokens = tiny.tokens(900)
        let prompts = [tokens, Array(tokens[..<800]) + [1, 2, 3], Array(tokens[..<50]) + [4, 5]]
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: 1400, batchTokens: 1400, logitRows: 1))
        let id = try context.makeSequence(capacity: 1400)
        var known: [Int] = []
        for prompt in prompts {
            let common = zip(known, prompt).prefix { $0 == $1 }.count
            context.truncate(id, to: min(common, prompt.count - 1))
            var batch = TokenBatch()
            batch.append(
                prompt[context.length(of: id)...], to: id, sequenceLength: prompt.count, logits: .last)
            try context.decode(batch)
            let found = try context.withLogits(row: 0) { Array($0) }
            #expect(try found.elementsEqual(model.logits(of: prompt).suffix(37)))
            known = prompt
        }
    }
}
