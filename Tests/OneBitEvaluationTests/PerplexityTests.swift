import Foundation
import ModelFiles
import OneBitRuntime
import Testing

@testable import OneBitEvaluation

/// Predicts with fixed logits per last token, whatever came before.
private struct TableModel: CausalLanguageModel {
    let configuration: ModelConfiguration
    let table: [[Float]]

    init(table: [[Float]], maximumPositions: Int = 64) throws {
        self.table = table
        configuration = try ModelConfiguration(
            vocabularySize: table.count,
            hiddenSize: 8,
            intermediateSize: 8,
            layerCount: 1,
            attentionHeadCount: 1,
            maximumPositions: maximumPositions,
            tiedEmbeddings: true,
            beginOfSequence: nil,
            endOfSequence: []
        )
    }

    func logits(of tokens: [Int]) throws -> [Float] { tokens.flatMap { table[$0] } }
    func makeDecoder(contextLength: Int?) throws -> any TokenDecoder { throw CancellationError() }
}

@Suite struct PerplexityTests {
    @Test("A model that knows nothing has the vocabulary's size as perplexity")
    func uniform() throws {
        let model = try TableModel(table: Array(repeating: [3, 3, 3, 3], count: 4))
        let result = try Perplexity(window: 5).evaluate(model, tokens: Array(repeating: 2, count: 23))
        #expect(abs(result.perplexity - 4) < 1e-12)
        #expect(result.windows == 4)
        #expect(result.tokens == 20)
        #expect(result.tokensInText == 23)
    }

    @Test("The loss is the mean over windows of each window's mean; predictions do not cross windows")
    func knownProbabilities() throws {
        // P(next | last): after 0: ¾ for 1; after 1: ½ each.
        let model = try TableModel(table: [[0, Float(log(3.0))], [0, 0]])
        // Windows 0 1 1 and 0 0 0; the tail 1 1 is dropped.
        let result = try Perplexity(window: 3).evaluate(model, tokens: [0, 1, 1, 0, 0, 0, 1, 1])
        let first = -(log(0.75) + log(0.5)) / 2
        let second = -(log(0.25) + log(0.25)) / 2
        #expect(abs(result.meanNegativeLogLikelihood - (first + second) / 2) < 1e-7)
        #expect(abs(result.perplexity - exp((first + second) / 2)) < 1e-6)
    }

    @Test("Large logits neither overflow nor lose the difference between them")
    func largeLogits() {
        let logits: [Float] = [30000, 30001, -30000, 0, 0, 0]
        let first = negativeLogLikelihood(logits: logits, vocabulary: 3, targets: [0])
        #expect(abs(first - log(1 + exp(1.0))) < 1e-6)
        let both = negativeLogLikelihood(logits: logits, vocabulary: 3, targets: [0, 2])
        #expect(abs(both - first - log(3.0)) < 1e-6)
        #expect(negativeLogLikelihood(logits: [.infinity, 0], vocabulary: 2, targets: [1]) == .infinity)
    }

    @Test("Progress comes once per window with the result so far, and can end the evaluation")
    func progress() throws {
        let model = try TableModel(table: Array(repeating: [0, 0], count: 2))
        let tokens = Array(repeating: 1, count: 40)
        var calls: [Int] = []
        let result = try Perplexity(window: 10, windowLimit: 3).evaluate(model, tokens: tokens) { soFar, windows in
            #expect(windows == 3)
            #expect(abs(soFar.perplexity - 2) < 1e-12)
            calls.append(soFar.windows)
        }
        #expect(calls == [1, 2, 3])
        #expect(result.windows == 3)
        #expect(throws: CancellationError.self) {
            try Perplexity(window: 10).evaluate(model, tokens: tokens) { _, _ in throw CancellationError() }
        }
    }

    @Test("What cannot be evaluated is refused by name")
    func refusals() throws {
        let model = try TableModel(table: Array(repeating: [0, 0], count: 2), maximumPositions: 16)
        #expect(throws: PerplexityError.windowTooShort(window: 1)) { try Perplexity(window: 1) }
        #expect(throws: PerplexityError.invalidWindowLimit(limit: 0)) { try Perplexity(window: 4, windowLimit: 0) }
        #expect(throws: PerplexityError.windowTooLong(window: 17, maximum: 16)) {
            try Perplexity(window: 17).evaluate(model, tokens: Array(repeating: 0, count: 99))
        }
        #expect(throws: PerplexityError.textTooShort(tokens: 3, window: 4)) {
            try Perplexity(window: 4).evaluate(model, tokens: [0, 1, 0])
        }
    }

    @Test("The definition names the window")
    func definition() throws {
        #expect(try Perplexity(window: 512).definition.contains("windows of 512 tokens"))
    }
}
