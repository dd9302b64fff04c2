import Foundation
import JSON
import ModelDescription
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel
@testable import OneBitRuntime

/// What a server asks of the engine: probabilities of tokens, and prompts that begin alike.
@Suite("Generation for a server")
struct ServingTests {
    private let tokenizer = ChatTokenizer()

    private func tinyModel(maximumPositions: Int = 300) throws -> TinyPackedModel {
        try TinyPackedModel(vocabularySize: tokenizer.vocabularySize, maximumPositions: maximumPositions)
    }

    private struct Result {
        var text = ""
        var prompt: [TokenDetail] = []
        var tokens: [TokenDetail] = []
        var info: GenerateCompletionInfo?
    }

    private func run(
        _ engine: GenerationEngine, _ prompt: [Int], scope: String? = nil, maxTokens: Int = 8, seed: UInt64 = 3,
        promptDetails: Int? = nil, tokenDetails: Int? = nil
    ) async throws -> Result {
        var input = GenerationRequest.Input(
            prompt: prompt, parameters: GenerateParameters(maxTokens: maxTokens, temperature: 1, seed: seed))
        (input.promptDetails, input.tokenDetails) = (promptDetails, tokenDetails)
        var result = Result()
        for try await (_, part) in engine.generate([input], prefixScope: scope.map(PrefixScope.init)) {
            switch part {
            case .text(let text): result.text += text
            case .detail(.prompt(let details)): result.prompt += details
            case .detail(.token(let detail)): result.tokens.append(detail)
            case .info(let info): result.info = info
            }
        }
        return result
    }

    private func engine(_ model: any CausalLanguageModel, kept: Int = 4, bytes: Int? = nil) -> GenerationEngine {
        GenerationEngine(
            model: model, tokenizer: tokenizer,
            limits: GenerationLimits(sequences: 3, cacheBytes: bytes, keptSequences: kept, promptDetailRows: 5))
    }

    @Test("The prompt's probabilities are those of scoring to the bit, however passes cut it, others beside it")
    func promptDetails() async throws {
        let tiny = try tinyModel()
        let model = try tiny.model()
        let engine = self.engine(model)
        let prompts = [2, 60, 23].map { tiny.tokens($0, seed: UInt64($0)) }
        async let beside = run(engine, tiny.tokens(150, seed: 9), maxTokens: 40)
        for prompt in prompts {
            let result = try await run(engine, prompt, maxTokens: 1, promptDetails: 2, tokenDetails: 2)
            #expect(result.prompt.map(\.chosen.token) == Array(prompt.dropFirst()))
            #expect(result.tokens.count == 1)
            let all = prompt + result.tokens.map(\.chosen.token)
            let details = result.prompt + result.tokens
            for (index, detail) in details.enumerated() {
                let request = ContinuationRequest(
                    context: Array(all[...index]), continuations: [[all[index + 1]], [detail.likeliest[0].token]])
                let scores = try model.scores(of: [request])[0]
                #expect(detail.chosen.logProbability == scores[0].logLikelihood)
                #expect(detail.likeliest[0].logProbability == scores[1].logLikelihood)
                #expect(scores[1].isGreedy)
                #expect(detail.likeliest.count == 2)
                #expect(detail.likeliest[0].logProbability >= detail.likeliest[1].logProbability)
            }
        }
        #expect(try await !beside.text.isEmpty)
    }

    @Test("A prompt is scored and nothing generated where no token is asked for")
    func scoringAlone() async throws {
        let tiny = try tinyModel()
        let prompt = tiny.tokens(20, seed: 1)
        let result = try await run(engine(tiny.model()), prompt, maxTokens: 0, promptDetails: 0)
        #expect(result.prompt.count == 19)
        #expect(result.text.isEmpty)
        #expect(result.info?.tokens == [])
        #expect(result.info?.stopReason == .length)
    }

    @Test("A prompt that begins like an earlier one is not read again, and its text is the same to the byte")
    func prefixes() async throws {
        let tiny = try tinyModel()
        let model = try tiny.model()
        let shared = tiny.tokens(100, seed: 1)
        let prompts = [40, 3, 80].map { shared + tiny.tokens($0, seed: UInt64($0)) }
        let alone = try await prompts.asyncMap { try await run(self.engine(model), $0) }
        let engine = self.engine(model)
        for _ in 0..<2 {
            for (prompt, expected) in zip(prompts, alone) {
                let result = try await run(engine, prompt, scope: "a")
                #expect(result.text == expected.text)
                #expect(result.info?.tokens == expected.info?.tokens)
                #expect(result.info!.cachedTokenCount + result.info!.promptTokenCount == prompt.count)
            }
        }
        // All but the first began with the shared part; in the second round all but the last token was known.
        let last = try await run(engine, prompts[2], scope: "a")
        #expect(last.info?.cachedTokenCount == prompts[2].count - 1)
        #expect(engine.statistics.cachedTokens >= 100 * 2 + 139 + 102 + 179)
        // A conversation goes on from its own sequence.
        let next = prompts[1] + alone[1].info!.tokens + tiny.tokens(5, seed: 77)
        let continued = try await run(engine, next, scope: "a")
        #expect(continued.info!.cachedTokenCount >= prompts[1].count)
        #expect(continued.text == (try await run(self.engine(model), next)).text)
    }

    @Test("A prompt of several texts is read once, and so is a beginning that prompts share while one of them is read")
    func severalTexts() async throws {
        let tiny = try tinyModel()
        let model = try tiny.model()
        let shared = tiny.tokens(200, seed: 1)
        let prompts = [shared, shared, shared, shared + tiny.tokens(30, seed: 2), tiny.tokens(50, seed: 3)]
        let inputs = prompts.enumerated().map { index, prompt in
            GenerationRequest.Input(
                prompt: prompt, parameters: GenerateParameters(maxTokens: 8, temperature: 1, seed: UInt64(index)))
        }
        for scope in [nil, "a"] {
            let engine = self.engine(model)
            var infos: [Int: GenerateCompletionInfo] = [:]
            for try await (index, part) in engine.generate(inputs, prefixScope: scope.map(PrefixScope.init)) {
                if case .info(let info) = part { infos[index] = info }
            }
            for (index, input) in inputs.enumerated() {
                let alone = try await run(self.engine(model), input.prompt, seed: UInt64(index))
                #expect(infos[index]?.tokens == alone.info?.tokens)
            }
            let read = infos.values.reduce(0) { $0 + $1.promptTokenCount }
            // The last token of each is read by itself, for its logits.
            #expect(read == 200 + 2 * 1 + 30 + 50)
            // Nothing of a request without a scope is there for the next one.
            #expect((engine.statistics.kept > 0) == (scope != nil))
        }
    }

    @Test("A text goes on when the one whose prompt it waited for is cancelled")
    func cancelledReader() async throws {
        let tiny = try tinyModel()
        let model = try tiny.model()
        let prompt = tiny.tokens(200, seed: 1)
        let engine = self.engine(model)
        let first = Task { try await run(engine, prompt, scope: "a") }
        async let second = run(engine, prompt, scope: "a")
        first.cancel()
        let text = try await second.text
        #expect(text == (try await run(self.engine(model), prompt)).text)
        _ = try? await first.value
    }

    @Test("What another scope has read is read again, and probabilities of a prompt never come from what is kept")
    func scopes() async throws {
        let tiny = try tinyModel()
        let model = try tiny.model()
        let engine = self.engine(model)
        let prompt = tiny.tokens(90, seed: 4)
        _ = try await run(engine, prompt, scope: "a")
        #expect(try await run(engine, prompt, scope: "b").info?.cachedTokenCount == 0)
        #expect(try await run(engine, prompt).info?.cachedTokenCount == 0)
        let scored = try await run(engine, prompt, scope: "a", promptDetails: 1)
        #expect(scored.prompt.count == 89)
        #expect(scored.info?.cachedTokenCount == 0)
    }

    @Test("Kept sequences give way to texts under way: memory holds, and nothing waits for ever")
    func eviction() async throws {
        let tiny = try tinyModel()
        let model = try tiny.model()
        // Two sequences of 108 positions, and no more.
        let engine = self.engine(model, kept: 8, bytes: 2 * model.cacheByteCount(positions: 108) + 10)
        for seed in 0..<6 {
            let prompt = tiny.tokens(100, seed: UInt64(seed % 3))
            let alone = try await run(self.engine(model), prompt)
            #expect(try await run(engine, prompt, scope: "a").text == alone.text)
            #expect(engine.statistics.cacheBytes <= 2 * model.cacheByteCount(positions: 108) + 10)
        }
    }

    @Test("Sequences are copied also where layers have windows, as far as these still hold them")
    func windows() async throws {
        for window in [8, 700] {
            let tiny = try TinyPackedModel(
                ModelConfiguration(
                    JSONObject([
                        ("model_type", .string("mistral")), ("vocab_size", .integer(tokenizer.vocabularySize)),
                        ("hidden_size", .integer(20)), ("intermediate_size", .integer(27)),
                        ("num_hidden_layers", .integer(2)), ("num_attention_heads", .integer(2)),
                        ("num_key_value_heads", .integer(1)), ("max_position_embeddings", .integer(1500)),
                        ("sliding_window", .integer(window)), ("tie_word_embeddings", .boolean(false)),
                    ])))
            let model = try tiny.model()
            let engine = self.engine(model)
            let shared = tiny.tokens(600, seed: 1)
            for suffix in [10, 40, 300, 5] {
                let prompt = shared + tiny.tokens(suffix, seed: UInt64(suffix))
                let alone = try await run(self.engine(model), prompt)
                #expect(try await run(engine, prompt, scope: "a").text == alone.text)
            }
        }
    }
}

extension Sequence {
    fileprivate func asyncMap<T>(_ transform: (Element) async throws -> T) async rethrows -> [T] {
        var results: [T] = []
        for element in self { results.append(try await transform(element)) }
        return results
    }
}
