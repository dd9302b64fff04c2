import Foundation
import ModelDescription
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel
@testable import OneBitRuntime

/// The same seed gives the same text alone, in company, in chunks and with a warm cache.
@Suite("Generation of a packed model")
struct PackedGenerationTests {
    private let tokenizer = ChatTokenizer()

    /// With dynamic rotary scaling beyond 40 positions, and room for `positions`.
    private func dynamicModel(positions: Int = 400) throws -> TinyPackedModel {
        let base = try ModelConfiguration(
            vocabularySize: tokenizer.vocabularySize, hiddenSize: 20, intermediateSize: 27, layerCount: 2,
            attentionHeadCount: 2, keyValueHeadCount: 1, maximumPositions: 40, tiedEmbeddings: false)
        var object = try #require(
            JSONSerialization.jsonObject(with: base.jsonData(quantization: nil)) as? [String: Any])
        object["rope_scaling"] = ["rope_type": "dynamic", "factor": Double(positions) / 40] as [String: Any]
        let directory = try TemporaryDirectory()
        let file = try directory.write(JSONSerialization.data(withJSONObject: object), as: "config.json")
        return try TinyPackedModel(ModelConfiguration(contentsOf: file))
    }

    /// Greedy tokens, each from a new prompt and so from logits that nothing was cached for.
    private func greedyByLogits(_ model: PackedModel, prompt: [Int], count: Int) throws -> [Int] {
        var tokens = prompt
        for _ in 0..<count {
            let row = try model.logits(of: tokens).suffix(model.configuration.vocabularySize)
            tokens.append(row.enumerated().max { $0.element < $1.element }!.offset)
        }
        return Array(tokens[prompt.count...])
    }

    @Test("With dynamic rotary scaling and a prompt of several chunks, generate's first token is the logits' likeliest")
    func dynamicScalingAgreesWithLogits() throws {
        let tiny = try dynamicModel()
        let model = try tiny.model()
        #expect(model.configuration.maximumPositions == 400)
        for seed in 0..<6 {
            let prompt = tiny.tokens(290 + seed, seed: UInt64(seed))
            let info = try generate(
                prompt: prompt, model: model, tokenizer: tokenizer,
                parameters: GenerateParameters(maxTokens: 1, temperature: 0)
            ) { _ in }
            #expect(try info.tokens == greedyByLogits(model, prompt: prompt, count: 1))
        }
    }

    @Test("With dynamic rotary scaling a batch gives each text that its prompt gives alone")
    func dynamicScalingInBatches() throws {
        let tiny = try dynamicModel()
        let model = try tiny.model()
        let prompts = [300, 20, 39, 131].enumerated().map { tiny.tokens($1, seed: UInt64($0)) }
        let parameters = GenerateParameters(maxTokens: 30, temperature: 1, topP: 1, seed: 4)
        let together = try generate(
            prompts: prompts, model: model, tokenizer: tokenizer, parameters: parameters, batchSize: 3
        ) { _, _ in }
        for (index, prompt) in prompts.enumerated() {
            var own = parameters
            own.seed += UInt64(index)
            let alone = try generate(prompt: prompt, model: model, tokenizer: tokenizer, parameters: own) { _ in }
            #expect(together[index].tokens == alone.tokens)
        }
    }

    @Test("A conversation beyond the original context of dynamic scaling is what it would be if read at once")
    func dynamicScalingInChats() async throws {
        let model = try dynamicModel().model()
        let container = try ModelContainer.chatML(model)
        let template = try container.chatTemplate
        let parameters = GenerateParameters(maxTokens: 12, temperature: 1, topP: 1, seed: 3)
        let session = try ChatSession(container, generateParameters: parameters)
        for (turn, question) in ["Who?", "What is it?", "Where?"].enumerated() {
            let prompt = try template.tokens(
                of: session.history + [.user(question)], addGenerationPrompt: true, tokenizer: tokenizer)
            var own = parameters
            own.seed += UInt64(turn)
            let alone = try generate(prompt: prompt, model: model, tokenizer: tokenizer, parameters: own) { _ in }
            let end = alone.tokens.firstIndex(of: ChatTokenizer.end) ?? alone.tokens.count
            #expect(
                try await session.respond(to: question)
                    == tokenizer.decode(Array(alone.tokens[..<end]), skipSpecialTokens: true))
        }
    }

    @Test("The size of a prompt's chunks does not change the text")
    func chunks() throws {
        let tiny = try TinyPackedModel(vocabularySize: tokenizer.vocabularySize, maximumPositions: 400)
        let prompt = tiny.tokens(300)
        for tiny in [tiny, try dynamicModel()] {
            let model = try tiny.model()
            let parameters = GenerateParameters(maxTokens: 20, temperature: 1, seed: 6)
            var found: Set<[Int]> = []
            for chunk in [1, 7, 64, 300] {
                var scheduler = GenerationScheduler(
                    model: model, tokenizer: tokenizer, limits: GenerationLimits(sequences: 1), promptTokens: chunk)
                scheduler.add(GenerationRequest(index: 0) { .init(prompt: prompt, parameters: parameters) })
                try scheduler.run { event in
                    if case .end(_, let result) = event { found.insert(try result.get().tokens) }
                }
            }
            #expect(found.count == 1)
        }
    }

    @Test("Sessions and single texts of one engine give what each gives alone")
    func company() async throws {
        let tiny = try TinyPackedModel(vocabularySize: tokenizer.vocabularySize, maximumPositions: 400)
        let model = try tiny.model(threads: 2)
        let container = try ModelContainer.chatML(model)
        let parameters = GenerateParameters(maxTokens: 40, temperature: 1, topP: 0.9, seed: 8)
        let prompt = tiny.tokens(200)
        let alone = try generate(prompt: prompt, model: model, tokenizer: tokenizer, parameters: parameters) { _ in }
        let question = String(repeating: "Why? ", count: 30)
        let expected = try await ChatSession(.chatML(model), generateParameters: parameters).respond(to: question)
        async let first = ChatSession(container, generateParameters: parameters).respond(to: question)
        async let second = ChatSession(container, generateParameters: parameters).respond(to: question)
        var tokens: [Int] = []
        for try await part in container.engine.generate(prompt: prompt, parameters: parameters) {
            if case .info(let info) = part { tokens = info.tokens }
        }
        #expect(tokens == alone.tokens)
        #expect(try await [first, second] == [expected, expected])
    }
}
