import Foundation
import JSON
import LanguageModel
import ModelDescription
import Testing
import Torch

@testable import OneBitTraining

/// Sequences that a context decodes in batches, against whole sequences read at once.
@Suite("Decoding contexts on libtorch")
struct DecodingContextTests {
    static let families = [
        FamilyDistillationTests.Family(type: "llama"),
        FamilyDistillationTests.Family(type: "mistral", keys: [("sliding_window", .integer(4))]),
        FamilyDistillationTests.Family(type: "qwen3", keys: [("head_dim", .integer(8))]),
        FamilyDistillationTests.Family(type: "opt"),
    ]

    private func model(_ family: FamilyDistillationTests.Family) throws -> TorchModel {
        let model = try Pretrainer(configuration: family.configuration(), elementType: .float32, seed: 7).evaluated
            .model
        return TorchModel(model, threads: 1)
    }

    private func rows(_ context: any DecodingContext, _ count: Int) throws -> [[Float]] {
        try (0..<count).map { row in try context.withLogits(row: row) { Array($0) } }
    }

    private func expectEqual(_ found: [Float], _ expected: ArraySlice<Float>, _ comment: String) {
        let difference = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
        let largest = expected.map(abs).max() ?? 0
        #expect(found.count == expected.count && difference <= 1e-4 * max(largest, 1e-3), "\(comment)")
    }

    @Test(
        "Sequences in one batch, prompts in chunks beside single tokens, are each what they are alone",
        arguments: families)
    func batch(family: FamilyDistillationTests.Family) throws {
        let model = try model(family)
        let vocabulary = model.configuration.vocabularySize
        let texts = [Array(3..<15), [9, 4, 21, 30, 7], [5, 5, 6, 28, 11, 12, 13, 29, 3]]
        let expected = try texts.map { try model.logits(of: $0) }
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 3, positions: 16, batchTokens: 32, logitRows: 32))
        let ids = try texts.map { try context.makeSequence(capacity: $0.count) }
        var read = [0, 0, 0]
        for chunks in [[5, 1, 0], [1, 1, 3], [1, 1, 1], [5, 2, 5]] {
            var batch = TokenBatch()
            var wanted: [(text: Int, position: Int)] = []
            for (text, count) in chunks.enumerated() where count > 0 {
                batch.append(
                    texts[text][read[text]..<read[text] + count], to: ids[text], sequenceLength: texts[text].count,
                    logits: text == 2 ? .last : .all)
                let first = text == 2 ? read[text] + count - 1 : read[text]
                wanted += (first..<read[text] + count).map { (text, $0) }
                read[text] += count
            }
            try context.decode(batch)
            for (row, found) in try rows(context, wanted.count).enumerated() {
                let (text, position) = wanted[row]
                expectEqual(
                    found, expected[text][position * vocabulary..<(position + 1) * vocabulary], "\(text) at \(position)"
                )
            }
        }
        #expect(ids.map(context.length) == texts.map(\.count))
    }

    @Test("Truncated, a sequence goes on as if the forgotten tokens had never been read", arguments: families)
    func truncation(family: FamilyDistillationTests.Family) throws {
        let model = try model(family)
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: 16, batchTokens: 16, logitRows: 1))
        let id = try context.makeSequence(capacity: 16)
        func read(_ tokens: [Int]) throws -> [Float] {
            var batch = TokenBatch()
            batch.append(
                tokens, to: id, sequenceLength: context.length(of: id) + tokens.count, logits: .last)
            try context.decode(batch)
            return try rows(context, 1)[0]
        }
        _ = try read([3, 4, 5, 6, 7, 8, 9])
        context.truncate(id, to: 4)
        #expect(context.length(of: id) == 4)
        let expected = try model.logits(of: [3, 4, 5, 6, 20, 21]).suffix(model.configuration.vocabularySize)
        expectEqual(try read([20, 21]), expected, "after truncation")
    }

    @Test("A batch that cannot be computed is refused before anything is touched")
    func validation() throws {
        let model = try model(Self.families[0])
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: 8, batchTokens: 6, logitRows: 2))
        let id = try context.makeSequence(capacity: 5)
        #expect(throws: LanguageModelError.tooManySequences(maximum: 1)) { try context.makeSequence(capacity: 1) }
        func decode(_ tokens: [Int], to id: SequenceID, logits: LogitRows = .last) throws {
            var batch = TokenBatch()
            batch.append(tokens, to: id, sequenceLength: tokens.count, logits: logits)
            try context.decode(batch)
        }
        try decode([3, 4], to: id)
        #expect(throws: LanguageModelError.contextExceeded(tokens: 6, maximum: 5)) { try decode([1, 2, 3, 4], to: id) }
        #expect(throws: LanguageModelError.tokenOutOfRange(token: 32, position: 3, vocabularySize: 32)) {
            try decode([3, 32], to: id)
        }
        #expect(throws: LanguageModelError.invalidSequence(index: 4)) { try decode([3], to: SequenceID(index: 4)) }
        #expect(throws: LanguageModelError.self) { try decode([3, 4, 5], to: id, logits: .all) }
        #expect(throws: LanguageModelError.noTokens) { try context.decode(TokenBatch()) }
        #expect(context.length(of: id) == 2)
        #expect(try rows(context, 1)[0].count == 32, "the logits of the last batch that was computed")
    }

    @Test("A cancelled task stops a pass, and the sequences are as before")
    func cancellation() async throws {
        let model = try model(Self.families[0])
        let length = try await Task {
            let context = try model.makeDecodingContext(
                DecodingLimits(sequences: 1, positions: 8, batchTokens: 8, logitRows: 1))
            let id = try context.makeSequence(capacity: 8)
            var batch = TokenBatch()
            batch.append([3, 4], to: id, sequenceLength: 2, logits: .last)
            try context.decode(batch)
            withUnsafeCurrentTask { $0?.cancel() }
            batch.removeAll()
            batch.append([5], to: id, sequenceLength: 3, logits: .last)
            #expect(throws: CancellationError.self) { try context.decode(batch) }
            return context.length(of: id)
        }.value
        #expect(length == 2)
    }

    @Test(
        "Dynamic rotary scaling: a prompt in chunks is rotated as the whole of it, a later token by the length it makes"
    )
    func dynamicScaling() throws {
        let scaling = JSONValue.object(
            JSONObject([("type", .string("dynamic")), ("factor", .integer(2))]))
        let family = FamilyDistillationTests.Family(
            type: "llama", keys: [("rope_scaling", scaling), ("original_max_position_embeddings", .integer(6))])
        let model = try model(family)
        try #require(model.configuration.structure.dependsOnLength)
        let vocabulary = model.configuration.vocabularySize
        let prompt = Array(3..<15)
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 2, positions: 16, batchTokens: 16, logitRows: 16))
        let ids = try [0, 1].map { _ in try context.makeSequence(capacity: 16) }
        func decode(_ tokens: ArraySlice<Int>, to id: SequenceID, length: Int) throws -> [Float] {
            var batch = TokenBatch()
            batch.append(tokens, to: id, sequenceLength: length, logits: .last)
            try context.decode(batch)
            return try rows(context, 1)[0]
        }
        let whole = try decode(prompt[...], to: ids[0], length: 12)
        expectEqual(whole, try model.logits(of: prompt).suffix(vocabulary), "the whole prompt")
        _ = try decode(prompt[..<5], to: ids[1], length: 12)
        expectEqual(try decode(prompt[5...], to: ids[1], length: 12), whole[...], "the prompt in chunks")
        let next = try ids.map { try decode([20], to: $0, length: 13) }
        expectEqual(next[0], next[1][...], "the token after it")
    }
}
