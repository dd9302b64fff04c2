import Foundation
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel
@testable import OneBitRuntime

@Suite("Generating several texts at once")
struct BatchGenerationTests {
    private let tokenizer = ChatTokenizer()

    private func tinyModel(maximumPositions: Int = 300) throws -> TinyPackedModel {
        try TinyPackedModel(vocabularySize: tokenizer.vocabularySize, maximumPositions: maximumPositions)
    }

    /// Every text of a batch equals what its prompt gives alone.
    private func expectEqualToAlone(
        prompts: [[Int]], model: any CausalLanguageModel, parameters: GenerateParameters, batchSize: Int
    ) throws {
        var texts = prompts.map { _ in "" }
        let infos = try generate(
            prompts: prompts, model: model, tokenizer: tokenizer, parameters: parameters, batchSize: batchSize
        ) { texts[$0] += $1 }
        #expect(infos.count == prompts.count)
        for (index, prompt) in prompts.enumerated() {
            var own = parameters
            own.seed += UInt64(index)
            var text = ""
            let info = try generate(prompt: prompt, model: model, tokenizer: tokenizer, parameters: own) { text += $0 }
            #expect(texts[index] == text)
            #expect(infos[index].tokens == info.tokens)
            #expect(infos[index].stopReason == info.stopReason)
            #expect(infos[index].promptTokenCount == prompt.count)
            #expect(infos[index].stepCount == info.stepCount)
        }
    }

    @Test("Each text is the one that its prompt gives alone", arguments: [1, 2, 4, 16])
    func equalToAlone(batchSize: Int) throws {
        let tiny = try tinyModel()
        // Of one token, longer than a block of prefill, and equal ones, which their seeds tell apart.
        let prompts = [1, 200, 7, 7, 130, 2].enumerated().map { tiny.tokens($1, seed: UInt64(min($0, 2))) }
        let model = try tiny.model(threads: 2)
        let sampled = GenerateParameters(maxTokens: 20, temperature: 1, topP: 0.9, repetitionPenalty: 1.1, seed: 5)
        try expectEqualToAlone(prompts: prompts, model: model, parameters: sampled, batchSize: batchSize)
    }

    @Test("Texts end alone: by a stop string, a full context, and at once where nothing is asked for")
    func ends() throws {
        let tiny = try tinyModel(maximumPositions: 40)
        let model = try tiny.model()
        let prompts = [3, 40, 39, 12, 25].map { tiny.tokens($0, seed: UInt64($0)) }
        let stopping = GenerateParameters(temperature: 1, topP: 1, seed: 9, stopStrings: ["a", "Q", "7", "xy"])
        try expectEqualToAlone(prompts: prompts, model: model, parameters: stopping, batchSize: 3)
        try expectEqualToAlone(prompts: prompts, model: model, parameters: GenerateParameters(), batchSize: 2)
        let none = GenerateParameters(maxTokens: 0)
        try expectEqualToAlone(prompts: prompts, model: model, parameters: none, batchSize: 2)
        #expect(try generate(prompts: [], model: model, tokenizer: tokenizer, parameters: none) { _, _ in }.isEmpty)
    }

    @Test("The stream gives the texts and an end of each")
    func stream() async throws {
        let tiny = try tinyModel()
        let prompts = (1...5).map { tiny.tokens($0) }
        var texts = prompts.map { _ in "" }
        var ends: [Int: Int] = [:]
        let parameters = GenerateParameters(maxTokens: 9, seed: 2)
        for try await part in generate(
            prompts: prompts, model: try tiny.model(), tokenizer: tokenizer, parameters: parameters, batchSize: 2)
        {
            switch part.generation {
            case .chunk(let text): texts[part.index] += text
            case .info(let info): ends[part.index] = info.tokens.count
            }
        }
        #expect(ends == [0: 9, 1: 9, 2: 9, 3: 9, 4: 9])
        var expected = prompts.map { _ in "" }
        _ = try generate(
            prompts: prompts, model: try tiny.model(), tokenizer: tokenizer, parameters: parameters
        ) { expected[$0] += $1 }
        #expect(texts == expected)
    }

    @Test("A prompt that is refused is named, before anything is generated")
    func refusals() throws {
        let tiny = try tinyModel(maximumPositions: 8)
        let model = try tiny.model()
        func run(_ prompts: [[Int]], batchSize: Int = 4) throws {
            _ = try generate(
                prompts: prompts, model: model, tokenizer: tokenizer, parameters: .greedy, batchSize: batchSize
            ) { _, _ in Issue.record("nothing was to be generated") }
        }
        let long = #expect(throws: GenerationError.self) { try run([[1], tiny.tokens(9)]) }
        #expect(long?.errorDescription?.hasPrefix("Prompt 2: 9 tokens are more") == true)
        let empty = #expect(throws: GenerationError.self) { try run([[]]) }
        #expect(empty?.errorDescription?.hasPrefix("Prompt 1: There are no tokens") == true)
        #expect(throws: GenerationError.self) { try run([[1]], batchSize: 0) }
    }

    @Test("Cancelling ends all of them, and so does an error of the receiver")
    func cancellation() async throws {
        struct Enough: Error {}
        let tiny = try tinyModel()
        let model = try tiny.model()
        let prompts = [tiny.tokens(3), tiny.tokens(5)]
        #expect(throws: Enough.self) {
            try generate(prompts: prompts, model: model, tokenizer: tokenizer, parameters: .greedy) { _, _ in
                throw Enough()
            }
        }
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            return try generate(
                prompts: prompts, model: model, tokenizer: ChatTokenizer(), parameters: .greedy
            ) { _, _ in }
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
