import Foundation
import ModelDescription
import TensorFiles
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
        #expect(relativeError(try tiny.model(inputPrecision: .bits8).logits(of: tokens), expected) < 0.1)
        #expect(relativeError(try tiny.model(headPrecision: .bits8).logits(of: tokens), expected) < 0.03)
    }

    @Test("Fed in any pieces, a sequence gives the logits of the whole, to the bit")
    func incremental() throws {
        let tiny = try TinyPackedModel(maximumPositions: 300)
        let model = try tiny.model()
        // Longer than a block of prefill.
        let tokens = tiny.tokens(270)
        let whole = try model.logits(of: tokens)
        let vocabulary = tiny.configuration.vocabularySize
        for pieces in [[Int](repeating: 1, count: 270), [1, 2, 5, 262], [128, 142], [270]] {
            let decoder = try model.makeDecoder()
            var start = 0
            for count in pieces {
                try decoder.advance(by: Array(tokens[start..<start + count]))
                let logits = try decoder.withLogits { Array($0) }
                start += count
                #expect(decoder.position == start)
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

    @Test("A sequence that goes back takes another turn as if it had never taken the first")
    func rewind() throws {
        let tiny = try TinyPackedModel()
        let model = try tiny.model()
        let decoder = try model.makeDecoder(contextLength: 12)
        #expect(decoder.contextLength == 12)
        #expect(throws: LanguageModelError.noTokens) { try decoder.withLogits { $0.count } }
        try decoder.advance(by: [1, 2, 3, 4, 5, 6])
        decoder.rewind(to: 3)
        #expect(decoder.position == 3)
        #expect(throws: LanguageModelError.noTokens) { try decoder.withLogits { $0.count } }
        try decoder.advance(by: [7, 8])
        let expected = Array(try model.logits(of: [1, 2, 3, 7, 8]).suffix(37))
        #expect(try decoder.withLogits { Array($0) } == expected)
        decoder.rewind(to: 99)
        #expect(decoder.position == 5)
    }

    @Test("Sequences computed together get the logits that each gets alone, to the bit")
    func together() throws {
        let tiny = try TinyPackedModel(keyValueHeads: 2)
        let model = try tiny.model()
        let sequences = [tiny.tokens(5, seed: 1), tiny.tokens(9, seed: 2), tiny.tokens(1, seed: 3)]
        let pass = try ForwardPass(model: model, rows: 16, logitRows: 16, positions: 20)
        let caches = try sequences.map { _ in
            try KeyValueCache(configuration: tiny.configuration, capacity: 20)
        }
        pass.begin()
        for (tokens, cache) in zip(sequences, caches) { pass.append(tokens[...], to: cache) }
        try pass.run(logitRows: 0..<15)
        var found = Array(UnsafeBufferPointer(start: pass.logits.pointer, count: 15 * 37))
        #expect(found == (try sequences.flatMap { try model.logits(of: $0) }))
        // One token more for each.
        pass.begin()
        for cache in caches { pass.append([11], to: cache) }
        try pass.run(logitRows: 0..<3)
        found = Array(UnsafeBufferPointer(start: pass.logits.pointer, count: 3 * 37))
        #expect(found == (try sequences.flatMap { try model.logits(of: $0 + [11]).suffix(37) }))
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

    @Test("Decoders of one model do not disturb each other, also at the same time")
    func severalDecoders() async throws {
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
        let decoder = try model.makeDecoder()
        try decoder.advance(by: [1, 2, 3])
        #expect(throws: LanguageModelError.contextExceeded(tokens: 9, maximum: 8)) {
            try decoder.advance(by: [1, 2, 3, 4, 5, 6])
        }
        #expect(throws: LanguageModelError.tokenOutOfRange(token: 37, position: 4, vocabularySize: 37)) {
            try decoder.advance(by: [0, 37])
        }
        #expect(throws: LanguageModelError.tokenOutOfRange(token: -1, position: 3, vocabularySize: 37)) {
            try decoder.advance(by: [-1])
        }
        #expect(throws: LanguageModelError.noTokens) { try decoder.advance(by: []) }
        #expect(throws: LanguageModelError.noTokens) { try model.logits(of: []) }
        #expect(throws: LanguageModelError.contextExceeded(tokens: 9, maximum: 8)) {
            try model.logits(of: [Int](repeating: 0, count: 9))
        }
        #expect(decoder.position == 3)
        try decoder.advance(by: [4, 5, 6, 7, 8])
        let rest = try decoder.withLogits { Array($0) }
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
