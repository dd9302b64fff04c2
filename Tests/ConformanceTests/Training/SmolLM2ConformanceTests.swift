import Foundation
import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import TensorFiles
import TestSupport
import Testing
import Tokenization

/// Where `../shared/models/smollm2-135m/make.py` has made the model: the environment variable ONEBIT_SMOLLM2, or
/// `smollm2` beside `../shared`.
private let smolLM2 =
    ProcessInfo.processInfo.environment["ONEBIT_SMOLLM2"].map { URL(filePath: $0) }
    ?? SharedData.root.deletingLastPathComponent().appending(path: "smollm2")

/// A real published model of 134.5 million parameters against transformers: logits, states, greedy texts, chats and
/// perplexity.
@Suite(
    "SmolLM2-135M, against transformers",
    .enabled(
        if: SharedData.isPresent && FileManager.default.fileExists(atPath: smolLM2.appending(path: "config.json").path),
        "SmolLM2-135M is not made: shared/models/smollm2-135m/make.py makes it"))
struct SmolLM2ConformanceTests {
    private struct Reference: Decodable {
        struct Text: Decodable {
            var prompt: String
            var ids: [Int]
            var continuationIds: [Int]
            var continuation: String
        }
        struct Chat: Decodable {
            var messages: [ChatMessage]
            var rendered: String
            var ids: [Int]
            var answerIds: [Int]
            var answer: String
        }
        struct WikiText: Decodable {
            var file: String
            var window: Int
            var meanNllPerWindow: [Double]
            var perplexity: Double
            var tokensInText: Int
        }
        var texts: [String]
        var greedy: [Text]
        var chat: [Chat]
        var wikitext2: WikiText
    }

    private let model: TorchModel
    private let tokenizer: any Tokenizer
    private let reference: Reference

    init() throws {
        model = try TorchModel(checkpoint: Checkpoint(directory: smolLM2), threads: 2)
        tokenizer = try loadTokenizer(from: smolLM2)
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        reference = try decoder.decode(
            Reference.self, from: Data(contentsOf: SharedData.url("models/smollm2-135m/reference.json")))
    }

    @Test("Texts are tokenized to the same ids; logits and hidden states equal within 1e-4")
    func states() throws {
        let tensors = try ReferenceTensors("models/smollm2-135m/reference.safetensors")
        let vocabulary = model.configuration.vocabularySize
        let width = model.configuration.hiddenSize
        #expect(reference.texts.count == 4)
        for (number, text) in reference.texts.enumerated() {
            let ids = try tensors.integers("input_ids.\(number)")
            #expect(try tokenizer.encode(text, addSpecialTokens: true) == ids)
            let found = try model.states(of: ids)
            #expect(
                relativeError(found.logits.suffix(2 * vocabulary), try tensors.floats("logits.\(number)")) < 1e-4)
            let sums = stride(from: 0, to: found.logits.count, by: vocabulary).map { first -> Float in
                let row = found.logits[first..<first + vocabulary]
                let largest = row.max() ?? 0
                return largest + Float(log(row.reduce(0.0) { $0 + exp(Double($1 - largest)) }))
            }
            #expect(relativeError(sums, try tensors.floats("logsumexp.\(number)")) < 1e-4)
            for layer in [0, 1, 15, 30] {
                let expected = try tensors.floats("hidden_states.\(layer).\(number)")
                #expect(relativeError(found.hiddenStates[layer].suffix(2 * width), expected) < 1e-4, "\(layer)")
            }
        }
    }

    private func continuation(of ids: [Int], tokens: Int) throws -> [Int] {
        var parameters = GenerateParameters.greedy
        parameters.maxTokens = tokens
        return try generate(prompt: ids, model: model, tokenizer: tokenizer, parameters: parameters) { _ in }.tokens
    }

    private func withoutEnd(_ ids: [Int]) -> [Int] {
        ids.filter { !model.configuration.endOfSequence.contains($0) }
    }

    @Test("Greedy texts are the same, token by token")
    func greedy() throws {
        #expect(!reference.greedy.isEmpty)
        for text in reference.greedy {
            #expect(try tokenizer.encode(text.prompt, addSpecialTokens: true) == text.ids)
            let found = try continuation(of: text.ids, tokens: 24)
            #expect(found == withoutEnd(text.continuationIds), "\(text.prompt)")
            #expect(tokenizer.decode(found, skipSpecialTokens: true) == text.continuation)
        }
    }

    @Test("Chats are rendered to the same prompt and ids, and answered with the same tokens")
    func chats() throws {
        let template = try ChatTemplate(directory: smolLM2)
        #expect(!reference.chat.isEmpty)
        for chat in reference.chat {
            #expect(try template.text(of: chat.messages, addGenerationPrompt: true) == chat.rendered)
            let ids = try template.tokens(of: chat.messages, addGenerationPrompt: true, tokenizer: tokenizer)
            #expect(ids == chat.ids)
            let found = try continuation(of: ids, tokens: 32)
            #expect(found == withoutEnd(chat.answerIds))
            #expect(tokenizer.decode(found, skipSpecialTokens: true) == chat.answer)
        }
    }

    @Test("Perplexity of WikiText-2's first windows equals within 1e-4 relative")
    func perplexity() throws {
        let expected = reference.wikitext2
        let text = try EvaluationText(file: SharedData.url(expected.file), format: .wikitext)
        let tokens = try text.joined(tokenizer: tokenizer, beginOfSequence: nil, placement: .front)
        let plan = try WindowPlan(length: expected.window, limit: expected.meanNllPerWindow.count)
        let found = try Perplexity(plan).evaluate(model, text: tokens)
        #expect(abs(found.perplexity / expected.perplexity - 1) < 1e-4)
    }

    @Test("The model without libtorch that writes the corpus is the same within the rounding of keys and values")
    func dense() throws {
        let checkpoint = try Checkpoint(directory: smolLM2)
        let ids = try tokenizer.encode(reference.texts[3], addSpecialTokens: true)
        let expected = try model.logits(of: ids)
        let float = try DenseModel(checkpoint: checkpoint, threads: 2)
        #expect(relativeError(try float.logits(of: ids), expected) < 1e-3)
        let best = try DenseModel(checkpoint: checkpoint, arithmetic: .fastest, threads: 2)
        #expect(relativeError(try best.logits(of: ids), expected) < 3e-2)
    }
}
