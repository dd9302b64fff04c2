import Foundation
import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import TestSupport
import Testing
import Tokenization

@Suite("What the teacher says, against transformers", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct TeacherTextConformanceTests {
    private let model: TorchModel
    private let tokenizer: any Tokenizer

    init() throws {
        let directory = SharedData.url("models/stories260K")
        model = try TorchModel(checkpoint: Checkpoint(directory: directory), threads: 1)
        tokenizer = try loadTokenizer(from: directory)
    }

    private func reference<Value: Decodable>(_ type: Value.Type, _ name: String) throws -> Value {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(
            type, from: Data(contentsOf: SharedData.url("data/reference/stories260K/\(name).json")))
    }

    private struct Perplexities: Decodable {
        struct Text: Decodable {
            var seqlen: Int
            var first20WindowsPpl: Double
        }
        var wikitext2Test: Text
    }

    @Test("Perplexity of WikiText-2's first 20 windows equals within 1e-4 relative")
    func perplexity() throws {
        let expected = try reference(Perplexities.self, "perplexity").wikitext2Test
        let text = try EvaluationText(file: SharedData.url("data/eval/wikitext2_test.raw.txt"), format: .wikitext)
        let tokens = try text.joined(
            tokenizer: tokenizer, beginOfSequence: tokenizer.beginOfSequence, placement: .front)
        let found = try Perplexity(WindowPlan(length: expected.seqlen, limit: 20)).evaluate(model, text: tokens)
        #expect(abs(found.perplexity / expected.first20WindowsPpl - 1) < 1e-4)
    }

    private struct Greedy: Decodable {
        struct Item: Decodable {
            var promptIds: [Int]
            var outputIds: [Int]
        }
        var maxNewTokens: Int
        var items: [Item]
    }

    @Test("Greedy continuations are the same tokens")
    func greedy() throws {
        let expected = try reference(Greedy.self, "greedy")
        #expect(!expected.items.isEmpty)
        for item in expected.items {
            var parameters = GenerateParameters.greedy
            parameters.maxTokens = expected.maxNewTokens
            let info = try generate(
                prompt: item.promptIds, model: model, tokenizer: tokenizer, parameters: parameters
            ) { _ in }
            #expect(info.tokens == item.outputIds.filter { !model.configuration.endOfSequence.contains($0) })
        }
    }
}
