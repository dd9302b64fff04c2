import Foundation
import JSON
import ModelDescription
import TestSupport
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

/// Families that differ in what they compute, at sizes that no vector width divides.
struct TinyFamily: CustomTestStringConvertible {
    let name: String
    let keys: [(String, JSONValue)]

    var testDescription: String { name }

    func configuration() throws -> ModelConfiguration { try ModelConfiguration(JSONObject(keys)) }

    static let all = [
        rotary("LLaMA with biases", "llama", [("attention_bias", .boolean(true)), ("mlp_bias", .boolean(true))]),
        rotary(
            "LLaMA 3.1", "llama",
            [
                (
                    "rope_scaling",
                    .object(
                        JSONObject([
                            ("rope_type", .string("llama3")), ("factor", .integer(8)), ("low_freq_factor", .integer(1)),
                            ("high_freq_factor", .integer(4)), ("original_max_position_embeddings", .integer(16)),
                        ]))
                )
            ]),
        rotary(
            "linear scaling", "llama",
            [("rope_scaling", .object(JSONObject([("type", .string("linear")), ("factor", .number(2.5))])))]),
        rotary("Mistral", "mistral", [("sliding_window", .integer(5))]),
        rotary("Qwen2", "qwen2", []),
        rotary(
            "Qwen3, a window in its last layer", "qwen3",
            [
                ("head_dim", .integer(14)), ("use_sliding_window", .boolean(true)), ("sliding_window", .integer(3)),
                ("max_window_layers", .integer(1)),
            ]),
        rotary(
            "YaRN", "llama",
            [
                (
                    "rope_scaling",
                    .object(
                        JSONObject([
                            ("rope_type", .string("yarn")), ("factor", .integer(4)),
                            ("original_max_position_embeddings", .integer(10)), ("beta_fast", .integer(2)),
                        ]))
                )
            ]),
        rotary(
            "SmolLM3", "smollm3", [("no_rope_layer_interval", .integer(2)), ("tie_word_embeddings", .boolean(false))]),
        rotary(
            "OLMo 2", "olmo2",
            [
                ("num_attention_heads", .integer(4)), ("num_key_value_heads", .integer(2)),
                ("head_dim", .integer(6)),
            ]),
        rotary("Phi-3, a part of each head rotated", "phi3", [("partial_rotary_factor", .number(0.6))]),
        rotary("StableLM", "stablelm", [("use_qkv_bias", .boolean(true)), ("partial_rotary_factor", .number(0.4))]),
        rotary(
            "Gemma 3, a window in its first layer", "gemma3_text",
            [
                ("head_dim", .integer(14)), ("sliding_window", .integer(3)), ("sliding_window_pattern", .integer(2)),
                ("rope_local_base_freq", .integer(100)), ("query_pre_attn_scalar", .integer(20)),
                ("tie_word_embeddings", .boolean(false)),
            ]),
        rotary(
            "Gemma 2, a window in its first layer", "gemma2",
            [
                ("head_dim", .integer(14)), ("sliding_window", .integer(3)), ("query_pre_attn_scalar", .integer(100)),
                ("attn_logit_softcapping", .number(1.5)), ("final_logit_softcapping", .number(15)),
            ]),
        rotary(
            "Granite", "granite",
            [
                ("embedding_multiplier", .number(1.5)), ("attention_multiplier", .number(0.4)),
                ("residual_multiplier", .number(0.25)), ("logits_scaling", .number(0.5)),
            ]),
        opt("OPT", isBefore: true, embeddingSize: 20),
        opt("OPT-350m, a narrow embedding", isBefore: false, embeddingSize: 13),
        opt("OPT, a wide embedding", isBefore: true, embeddingSize: 27),
    ]

    /// LLaMA whose context of 40 is stretched to 80.
    static let dynamic = rotary(
        "dynamic scaling", "llama",
        [("rope_scaling", .object(JSONObject([("type", .string("dynamic")), ("factor", .integer(2))])))])

    private static let sizes: [(String, JSONValue)] = [
        ("vocab_size", .integer(37)), ("hidden_size", .integer(20)), ("num_hidden_layers", .integer(2)),
        ("num_attention_heads", .integer(2)), ("max_position_embeddings", .integer(40)),
    ]

    private static func rotary(_ name: String, _ type: String, _ keys: [(String, JSONValue)]) -> TinyFamily {
        TinyFamily(
            name: name,
            keys: sizes + [
                ("model_type", .string(type)), ("intermediate_size", .integer(27)),
                ("num_key_value_heads", .integer(1)),
            ] + keys)
    }

    private static func opt(_ name: String, isBefore: Bool, embeddingSize: Int) -> TinyFamily {
        TinyFamily(
            name: name,
            keys: sizes + [
                ("model_type", .string("opt")), ("ffn_dim", .integer(27)), ("do_layer_norm_before", .boolean(isBefore)),
                ("word_embed_proj_dim", .integer(embeddingSize)),
            ])
    }
}

@Suite struct FamilyTests {
    @Test("Logits of every family equal the plain double-precision model's", arguments: TinyFamily.all)
    func matchesReference(family: TinyFamily) throws {
        for postLayerNorm in [true, false] {
            let tiny = try TinyPackedModel(family.configuration(), postLayerNorm: postLayerNorm)
            let tokens = tiny.tokens(13)
            let expected = ReferenceModel(tiny, roundsKeysAndValues: true).logits(of: tokens)
            #expect(relativeError(try tiny.model().logits(of: tokens), expected) < 1e-3)
        }
    }

    @Test("Read token by token, each family gives the logits of the whole, to the bit", arguments: TinyFamily.all)
    func incremental(family: TinyFamily) throws {
        let tiny = try TinyPackedModel(family.configuration())
        let model = try tiny.model()
        let tokens = tiny.tokens(13)
        let whole = try model.logits(of: tokens)
        let sequence = try SingleSequence(model)
        for (position, token) in tokens.enumerated() {
            #expect(try sequence.read([token]) == Array(whole[position * 37..<(position + 1) * 37]))
        }
    }

    @Test("Hidden states are the embedding, what enters each block, and what the head reads", arguments: TinyFamily.all)
    func hiddenStates(family: TinyFamily) throws {
        let tiny = try TinyPackedModel(family.configuration())
        let model = try tiny.model()
        let tokens = tiny.tokens(7)
        let states = try model.states(of: tokens)
        #expect(states.logits == (try model.logits(of: tokens)))
        let width = tiny.configuration.embeddingSize
        #expect(states.hiddenStates.map(\.count) == [7 * 20, 7 * 20, 7 * width])
        // The head's product with its input gives the logits, before they are capped.
        let cap = tiny.configuration.structure.logitSoftCap.map(Double.init)
        let head = tiny.values[tiny.configuration.head.name]!
        for row in 0..<7 {
            for token in 0..<37 {
                let product = (0..<width).reduce(0.0) {
                    $0 + Double(head[token * width + $1]) * Double(states.hiddenStates[2][row * width + $1])
                }
                let logit = cap.map { $0 * tanh(product / $0) } ?? product
                #expect(abs(logit - Double(states.logits[row * 37 + token])) < 1e-4)
            }
        }
        if case .rotary = tiny.configuration.structure.positions {
            let multiplier = tiny.configuration.structure.embeddingMultiplier
            let first = tiny.values["model.embed_tokens.weight"]![tokens[0] * 20..<tokens[0] * 20 + 20]
            #expect(Array(states.hiddenStates[0].prefix(20)) == first.map { $0 * multiplier })
        }
    }

    @Test("Beyond its first context, dynamic scaling depends on the length of the sequence")
    func dynamicScaling() throws {
        let tiny = try TinyPackedModel(TinyFamily.dynamic.configuration())
        #expect(tiny.configuration.maximumPositions == 80)
        let model = try tiny.model()
        let tokens = tiny.tokens(60)
        let short = try model.logits(of: Array(tokens.prefix(40)))
        #expect(try model.logits(of: Array(tokens.prefix(30))) == Array(short.prefix(30 * 37)))
        #expect(try model.logits(of: tokens).prefix(37 * 40) != short[...])
        // The whole is given at once: how it is cut into chunks does not matter.
        let expected = Array(try model.logits(of: tokens).suffix(37))
        #expect(try SingleSequence(model).read(tokens) == expected)
        let chunked = try SingleSequence(model)
        for first in stride(from: 0, to: 55, by: 11) {
            try chunked.read(Array(tokens[first..<first + 11]), sequenceLength: 60)
        }
        #expect(try chunked.read(Array(tokens[55...]), sequenceLength: 60) == expected)
        // Given one by one, later tokens are rotated for the length that they make: another sequence.
        let grown = try SingleSequence(model)
        try grown.read(Array(tokens.prefix(50)))
        for token in tokens[50..<59] { try grown.read([token]) }
        #expect(try grown.read([tokens[59]]) != expected)
    }

    @Test("With dynamic scaling each sequence of a batch is rotated for its own length")
    func dynamicScalingInBatches() throws {
        let tiny = try TinyPackedModel(TinyFamily.dynamic.configuration())
        let model = try tiny.model()
        let sequences = [70, 30, 55].map { tiny.tokens($0, seed: UInt64($0)) }
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 3, positions: 80, batchTokens: 155, logitRows: 3))
        let ids = try sequences.map { _ in try context.makeSequence(capacity: 80) }
        let alone = try sequences.map { _ in try SingleSequence(model) }
        var batch = TokenBatch()
        for (id, tokens) in zip(ids, sequences) {
            batch.append(tokens, to: id, sequenceLength: tokens.count, logits: .last)
        }
        for step in 0..<4 {
            try context.decode(batch)
            for (index, sequence) in alone.enumerated() {
                let expected = try sequence.read(step == 0 ? sequences[index] : [step])
                #expect(try context.withLogits(row: index) { Array($0) } == expected)
            }
            batch.removeAll()
            for (index, id) in ids.enumerated() {
                batch.append(
                    [step + 1], to: id, sequenceLength: sequences[index].count + step + 1, logits: .last)
            }
        }
    }
}

@Suite struct ScoringTests {
    private let requests = [
        ContinuationRequest(context: [1, 2, 3], continuations: [[4, 5], [4, 6, 7], [8], [9], [4, 5]]),
        ContinuationRequest(context: [3], continuations: [[1, 1, 1, 1, 1, 1]]),
    ]

    @Test("Continuations that share a context score as each does alone", arguments: TinyFamily.all)
    func sharedContext(family: TinyFamily) throws {
        let model = try TinyPackedModel(family.configuration()).model()
        let scores = try model.scores(of: requests)
        #expect(isClose(scores, try model.separateScores(of: requests)))
        #expect(scores[0][0] == scores[0][4])
        for score in scores.joined() { #expect(score.logLikelihood < 0) }
    }

    @Test("Beyond the first context of dynamic scaling, each continuation has the score of the whole sequence")
    func dynamicScaling() throws {
        let tiny = try TinyPackedModel(TinyFamily.dynamic.configuration())
        let model = try tiny.model()
        let tokens = tiny.tokens(60)
        let request = ContinuationRequest(
            context: Array(tokens.prefix(50)), continuations: [Array(tokens.suffix(10)), [1, 2, 3]])
        // The last token is predicted, not read.
        let logits = try model.logits(of: Array(tokens.dropLast()))
        let expected = (50..<60).reduce(0.0) { sum, position in
            let row = Array(logits[(position - 1) * 37..<position * 37])
            return sum
                + row.withUnsafeBufferPointer { TokenPrediction(logits: $0, target: tokens[position]).logProbability }
        }
        #expect(abs(try model.scores(of: [request])[0][0].logLikelihood - expected) < 1e-6 * abs(expected))
        #expect(isClose(try model.scores(of: [request]), try model.separateScores(of: [request])))
    }

    @Test("What greedy decoding writes is greedy, and nothing else is")
    func greedy() throws {
        let model = try TinyPackedModel().model()
        var written: [Int] = []
        for _ in 0..<4 {
            let logits = try model.logits(of: [1, 2] + written).suffix(37)
            written.append(logits.enumerated().max { $0.element < $1.element }!.offset)
        }
        let other = Array(written.dropLast()) + [(written[3] + 1) % 37]
        let scores = try model.scores(of: [ContinuationRequest(context: [1, 2], continuations: [written, other])])
        #expect(scores[0].map(\.isGreedy) == [true, false])
    }

    @Test("A request that is empty, too long, or has tokens of another vocabulary is refused")
    func refusals() throws {
        let model = try TinyPackedModel(maximumPositions: 6).model()
        func error(_ context: [Int], _ continuations: [[Int]]) -> LanguageModelError? {
            #expect(throws: LanguageModelError.self) {
                try model.scores(of: [ContinuationRequest(context: context, continuations: continuations)])
            }
        }
        #expect(error([], [[1]]) == .noTokens)
        #expect(error([1], [[]]) == .noTokens)
        #expect(error([1], [[1, 37]]) == .tokenOutOfRange(token: 37, position: 0, vocabularySize: 37))
        #expect(error([1, 1, 1, 1, 1], [[1, 1, 1]]) == .contextExceeded(tokens: 7, maximum: 6))
        #expect(try model.scores(of: []).isEmpty)
        #expect(
            try model.scores(of: [ContinuationRequest(context: [1, 1, 1, 1, 1], continuations: [[1, 1]])]).count == 1)
    }
}

/// Whether scores of the same logits are the same but for the rounding of exponentials.
func isClose(_ one: [[ContinuationScore]], _ other: [[ContinuationScore]]) -> Bool {
    one.map(\.count) == other.map(\.count)
        && zip(one.joined(), other.joined()).allSatisfy {
            $0.isGreedy == $1.isGreedy
                && abs($0.logLikelihood - $1.logLikelihood) < 1e-6 * max(1, abs($1.logLikelihood))
        }
}
