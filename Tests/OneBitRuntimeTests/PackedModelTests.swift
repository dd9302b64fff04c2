import Foundation
import ModelDescription
import Synchronization
import TensorFiles
import TestSupport
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

@Suite struct PackedModelTests {
    struct Variant: CustomTestStringConvertible {
        var keyValueHeads = 1
        var tiedEmbeddings = false
        var postLayerNorm = true
        var floatType = ElementType.float32

        var testDescription: String {
            "\(keyValueHeads) kv heads, \(tiedEmbeddings ? "tied" : "untied"), "
                + "\(postLayerNorm ? "with" : "without") LayerNorm, \(floatType.rawValue)"
        }
    }

    @Test(
        "Logits equal the plain double-precision model's",
        arguments: [
            Variant(), Variant(postLayerNorm: false), Variant(keyValueHeads: 2), Variant(tiedEmbeddings: true),
            Variant(floatType: .float16), Variant(tiedEmbeddings: true, postLayerNorm: false, floatType: .bfloat16),
        ])
    func matchesReference(variant: Variant) throws {
        let tiny = try TinyPackedModel(
            keyValueHeads: variant.keyValueHeads, tiedEmbeddings: variant.tiedEmbeddings,
            postLayerNorm: variant.postLayerNorm, floatType: variant.floatType)
        let tokens = tiny.tokens(13)
        let expected = ReferenceModel(tiny).logits(of: tokens)
        // Keys and values in half precision are what is left of the error.
        #expect(relativeError(try tiny.model().logits(of: tokens), expected) < 1e-3)
        #expect(relativeError(try tiny.model(inputPrecision: .bits10).logits(of: tokens), expected) < 0.02)
        #expect(relativeError(try tiny.model(headPrecision: .bits8).logits(of: tokens), expected) < 0.03)
    }

    @Test("Read in any pieces, a sequence gives the logits of the whole, to the bit")
    func incremental() throws {
        let tiny = try TinyPackedModel(maximumPositions: 300)
        let model = try tiny.model()
        // Longer than a block of prefill.
        let tokens = tiny.tokens(270)
        let whole = try model.logits(of: tokens)
        let vocabulary = tiny.configuration.vocabularySize
        for pieces in [[Int](repeating: 1, count: 270), [1, 2, 5, 262], [128, 142], [270]] {
            let sequence = try SingleSequence(model)
            var start = 0
            for count in pieces {
                let logits = try sequence.read(Array(tokens[start..<start + count]))
                start += count
                #expect(sequence.length == start)
                #expect(logits == Array(whole[(start - 1) * vocabulary..<start * vocabulary]), "at \(start)")
            }
        }
    }

    /// Large enough that loops are split among threads.
    private func wideModel() throws -> TinyPackedModel {
        try TinyPackedModel(
            hiddenSize: 128, intermediateSize: 352, heads: 8, keyValueHeads: 4, vocabularySize: 300,
            maximumPositions: 200)
    }

    @Test("The number of threads changes no bit of the logits")
    func threads() throws {
        let tiny = try wideModel()
        let tokens = tiny.tokens(150)
        let one = try tiny.model(threads: 1).logits(of: tokens)
        for threads in [2, 3, 5] {
            #expect(try tiny.model(threads: threads).logits(of: tokens) == one, "\(threads) threads")
        }
    }

    @Test("A truncated sequence continues as if it had never had the tokens that it forgot")
    func truncate() throws {
        let model = try TinyPackedModel().model()
        let sequence = try SingleSequence(model, capacity: 12)
        #expect(throws: LanguageModelError.noTokens) { try sequence.context.withLogits(row: 0) { $0.count } }
        try sequence.read([1, 2, 3, 4, 5, 6])
        sequence.context.truncate(sequence.id, to: 3)
        #expect(sequence.length == 3)
        #expect(try sequence.read([7, 8]) == Array(model.logits(of: [1, 2, 3, 7, 8]).suffix(37)))
        sequence.context.truncate(sequence.id, to: 99)
        #expect(sequence.length == 5)
    }

    @Test("Sequences computed together get the logits that each gets alone, to the bit, whichever rows are wanted")
    func together() throws {
        // With the prompts of 200 tokens a batch is longer than a pass.
        let tiny = try TinyPackedModel(keyValueHeads: 2, maximumPositions: 250)
        let model = try tiny.model()
        let lengths = [5, 200, 1, 9, 200]
        let sequences = lengths.enumerated().map { tiny.tokens($1, seed: UInt64($0)) }
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 5, positions: 250, batchTokens: 420, logitRows: 420))
        let ids = try sequences.map { try context.makeSequence(capacity: $0.count + 1) }
        let wanted: [LogitRows] = [.all, .all, .none, .last, .last]
        var batch = TokenBatch()
        for (index, tokens) in sequences.enumerated() {
            batch.append(tokens, to: ids[index], sequenceLength: tokens.count, logits: wanted[index])
        }
        try context.decode(batch)
        var found = try (0..<batch.logitRowCount).flatMap { row in try context.withLogits(row: row) { Array($0) } }
        var expected: [Float] = []
        for (index, tokens) in sequences.enumerated() where wanted[index] != .none {
            let logits = try model.logits(of: tokens)
            expected += wanted[index] == .all ? logits : logits.suffix(37)
        }
        #expect(found.count == 207 * 37)
        #expect(found.elementsEqual(expected))
        // One token more for each.
        batch.removeAll()
        for (index, tokens) in sequences.enumerated() {
            batch.append([11], to: ids[index], sequenceLength: tokens.count + 1, logits: .last)
        }
        try context.decode(batch)
        found = try (0..<5).flatMap { row in try context.withLogits(row: row) { Array($0) } }
        #expect(found == (try sequences.flatMap { try model.logits(of: $0 + [11]).suffix(37) }))
    }

    @Test("A context has as many sequences as it was made for; a removed one makes room")
    func slots() throws {
        let tiny = try TinyPackedModel()
        let model = try tiny.model()
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 2, positions: 10, batchTokens: 4, logitRows: 1))
        #expect(throws: LanguageModelError.contextExceeded(tokens: 11, maximum: 10)) {
            try context.makeSequence(capacity: 11)
        }
        let first = try context.makeSequence(capacity: 10)
        let second = try context.makeSequence(capacity: 3)
        #expect(throws: LanguageModelError.tooManySequences(maximum: 2)) { try context.makeSequence(capacity: 1) }
        var batch = TokenBatch()
        batch.append([1, 2], to: first, sequenceLength: 2, logits: .none)
        batch.append([3, 4], to: second, sequenceLength: 2, logits: .last)
        try context.decode(batch)
        context.removeSequence(first)
        #expect(throws: LanguageModelError.invalidSequence(index: first.index)) { try context.decode(batch) }
        let third = try context.makeSequence(capacity: 10)
        #expect(context.length(of: third) == 0 && context.length(of: second) == 2)
        batch.removeAll()
        batch.append([5], to: third, sequenceLength: 1, logits: .last)
        try context.decode(batch)
        let expected = Array(try model.logits(of: [5]))
        #expect(try context.withLogits(row: 0) { Array($0) } == expected)
    }

    @Test("A batch that is not valid is refused before anything is touched")
    func invalidBatches() throws {
        let model = try TinyPackedModel().model()
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 2, positions: 10, batchTokens: 6, logitRows: 2))
        let (first, second) = (try context.makeSequence(capacity: 10), try context.makeSequence(capacity: 3))
        func error(_ slices: [(SequenceID, [Int], LogitRows)]) -> LanguageModelError? {
            var batch = TokenBatch()
            for (id, tokens, logits) in slices {
                batch.append(tokens, to: id, sequenceLength: tokens.count, logits: logits)
            }
            return #expect(throws: LanguageModelError.self) { try context.decode(batch) }
        }
        #expect(error([]) == .noTokens)
        #expect(error([(first, [1], .last), (second, [], .last)]) == .noTokens)
        #expect(
            error([(first, [1], .last), (second, [1, 2, 3, 4], .last)]) == .contextExceeded(tokens: 4, maximum: 3))
        #expect(
            error([(first, [1], .last), (second, [1, 37], .last)])
                == .tokenOutOfRange(token: 37, position: 1, vocabularySize: 37))
        #expect(
            error([(first, [1, 2, 3], .all)])
                == .batchTooLarge(tokens: 3, maximumTokens: 6, logitRows: 3, maximumLogitRows: 2))
        #expect(
            error([(first, [1, 2, 3, 4, 5, 6, 7], .none)])
                == .batchTooLarge(tokens: 7, maximumTokens: 6, logitRows: 0, maximumLogitRows: 2))
        #expect(error([(first, [1], .last), (first, [2], .last)]) == .invalidSequence(index: first.index))
        #expect(error([(SequenceID(index: 7), [1], .last)]) == .invalidSequence(index: 7))
        #expect(context.length(of: first) == 0 && context.length(of: second) == 0)
    }

    @Test("A cancelled task ends a long pass soon, and the sequences stay as they were", arguments: [1, 2])
    func cancellation(threads: Int) async throws {
        // Some seconds of work where nothing looks for the cancellation.
        let tiny = try TinyPackedModel(
            hiddenSize: 128, intermediateSize: 352, layerCount: 8, heads: 8, keyValueHeads: 4, vocabularySize: 300,
            maximumPositions: 4096)
        let model = try tiny.model(threads: threads, instructionSet: InstructionSet(named: "portable"))
        let tokens = tiny.tokens(4000)
        let begun = Mutex(false)
        let task = Task.detached {
            let sequence = try SingleSequence(model)
            try sequence.read([1, 2, 3])
            begun.withLock { $0 = true }
            #expect(throws: CancellationError.self) { _ = try sequence.read(tokens) }
            return sequence.length
        }
        // Not on the cooperative threads, which other tests may keep.
        Thread.detachNewThread {
            while !begun.withLock({ $0 }) { usleep(1000) }
            usleep(10_000)
            task.cancel()
        }
        #expect(try await task.value == 3)
    }

    @Test("A sequence whose pass was cancelled goes on as if the pass had not been tried")
    func goesOnAfterCancellation() async throws {
        let tiny = try wideModel()
        let model = try tiny.model(threads: 2)
        let sequence = try SingleSequence(model)
        try sequence.read([1, 2, 3])
        nonisolated(unsafe) let shared = sequence
        let tokens = tiny.tokens(190)
        await Task.detached {
            withUnsafeCurrentTask { $0?.cancel() }
            #expect(throws: CancellationError.self) { _ = try shared.read(tokens) }
        }.value
        #expect(sequence.length == 3)
        #expect(try sequence.read([4]) == Array(model.logits(of: [1, 2, 3, 4]).suffix(300)))
    }

    @Test("The instruction set changes no bit of the logits", arguments: InputPrecision.allCases)
    func instructionSets(precision: InputPrecision) throws {
        let tiny = try TinyPackedModel()
        let tokens = tiny.tokens(30)
        let portable = try InstructionSet(named: "portable")
        let expected = try tiny.model(inputPrecision: precision, instructionSet: portable).logits(of: tokens)
        for instructionSet in InstructionSet.available {
            let model = try tiny.model(inputPrecision: precision, instructionSet: instructionSet)
            #expect(try model.logits(of: tokens) == expected, "\(instructionSet)")
        }
    }

    @Test("Contexts of one model do not disturb each other, also at the same time")
    func severalContexts() async throws {
        let tiny = try wideModel()
        let model = try tiny.model(threads: 2)
        let sequences = (0..<4).map { tiny.tokens(40, seed: UInt64($0)) }
        let expected = try sequences.map { try model.logits(of: $0) }
        try await withThrowingTaskGroup(of: (Int, [Float]).self) { group in
            for (index, tokens) in sequences.enumerated() {
                group.addTask { (index, try model.logits(of: tokens)) }
            }
            for try await (index, logits) in group { #expect(logits == expected[index]) }
        }
    }

    @Test("Tokens that do not fit are refused, and the sequence stays as it was")
    func refusals() throws {
        let tiny = try TinyPackedModel(maximumPositions: 8)
        let model = try tiny.model()
        let sequence = try SingleSequence(model)
        try sequence.read([1, 2, 3])
        #expect(throws: LanguageModelError.contextExceeded(tokens: 9, maximum: 8)) {
            try model.logits(of: [1, 2, 3, 1, 2, 3, 4, 5, 6])
        }
        #expect(throws: LanguageModelError.tokenOutOfRange(token: 37, position: 4, vocabularySize: 37)) {
            try sequence.read([0, 37])
        }
        #expect(throws: LanguageModelError.tokenOutOfRange(token: -1, position: 3, vocabularySize: 37)) {
            try sequence.read([-1])
        }
        #expect(throws: LanguageModelError.noTokens) { try sequence.read([]) }
        #expect(throws: LanguageModelError.noTokens) { try model.logits(of: []) }
        #expect(throws: LanguageModelError.contextExceeded(tokens: 9, maximum: 8)) {
            try model.logits(of: [Int](repeating: 0, count: 9))
        }
        #expect(sequence.length == 3)
        let rest = try sequence.read([4, 5, 6, 7, 8])
        #expect(rest == Array(try model.logits(of: [1, 2, 3, 4, 5, 6, 7, 8]).suffix(37)))
    }

    @Test(
        "NaN and infinite scales and norms are refused on load, by name",
        arguments: [
            "model.layers.1.mlp.up_proj.weight_scale", "model.layers.0.self_attn.q_proj.input_factor",
            "model.layers.1.post_attention_layernorm.weight",
        ])
    func damagedScales(name: String) throws {
        for value in [Float.nan, -.infinity] {
            let tiny = try TinyPackedModel { tensor, values in
                if tensor == name { values[3] = value }
            }
            let error = #expect(throws: TensorFileError.self) { try tiny.model() }
            guard case .nonFinite(_, name, 3, _) = error else {
                Issue.record("found \(String(describing: error))")
                return
            }
        }
    }

    @Test("A damaged embedding ends in an error, not in garbage")
    func damagedEmbedding() throws {
        let tiny = try TinyPackedModel { tensor, values in
            if tensor == "model.embed_tokens.weight" { values[2 * 20] = .nan }
        }
        let model = try tiny.model()
        #expect(throws: LanguageModelError.nonFiniteLogits(position: 1)) { try model.logits(of: [1, 2, 3]) }
    }

    @Test("An instruction set of an unknown name is refused; the environment chooses a known one")
    func instructionSetChoice() throws {
        let variable = InstructionSet.environmentVariable
        #expect(throws: InstructionSetError.self) { try InstructionSet.selected(environment: [variable: "avx9000"]) }
        #expect(try InstructionSet.selected(environment: [variable: "portable"]).name == "portable")
        #expect(try InstructionSet.selected(environment: [:]).name == InstructionSet.available[0].name)
        let error = #expect(throws: InstructionSetError.self) { try InstructionSet(named: "") }
        #expect(error?.errorDescription?.contains("portable") == true)
    }
}
