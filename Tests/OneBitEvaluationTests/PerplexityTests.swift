import Foundation
import LanguageModel
import Testing

@testable import OneBitEvaluation

@Suite struct PerplexityTests {
    private func evaluate(
        _ model: TableModel, _ sequences: [[Int]], _ plan: WindowPlan, batchSize: Int = 1, extent: TextExtent? = nil
    ) throws -> PerplexityResult {
        try Perplexity(plan, batchSize: batchSize).evaluate(
            model, text: TokenizedText(name: "text", sequences: sequences, extent: extent))
    }

    @Test("A model that knows nothing has the vocabulary's size as perplexity, without error")
    func uniform() throws {
        let model = try TableModel(table: Array(repeating: [3, 3, 3, 3], count: 4))
        let result = try evaluate(model, [Array(repeating: 2, count: 23)], WindowPlan(length: 5))
        #expect(abs(result.perplexity - 4) < 1e-12)
        #expect(result.windows == 4)
        #expect(result.tokensScored == 16 && result.tokensInWindows == 20 && result.tokensInText == 23)
        #expect(try #require(result.standardError) < 1e-6)
    }

    @Test("The loss is the mean over the tokens scored; predictions do not cross windows")
    func knownProbabilities() throws {
        // P(next | last): after 0: ¾ for 1; after 1: ½ each.
        let model = try TableModel(table: [[0, Float(log(3.0))], [0, 0]])
        // Windows 0 1 1 and 0 0 0; the tail 1 1 is dropped.
        let result = try evaluate(model, [[0, 1, 1, 0, 0, 0, 1, 1]], WindowPlan(length: 3))
        let first = -(log(0.75) + log(0.5)) / 2
        let second = -(log(0.25) + log(0.25)) / 2
        #expect(abs(result.negativeLogLikelihood.mean - (first + second) / 2) < 1e-7)
        #expect(abs(result.perplexity - exp((first + second) / 2)) < 1e-6)
        // Two windows of one size: half the distance of their means.
        #expect(abs(try #require(result.negativeLogLikelihood.standardError) - (second - first) / 2) < 1e-7)
    }

    @Test("Perplexity per word and per byte, where the whole text is scored and nothing else")
    func wordsAndBytes() throws {
        let model = try TableModel(table: Array(repeating: [0, 0], count: 2))
        let extent = TextExtent(of: ["four words and bytes"])
        let text = [[1, 0, 1, 0, 1, 0, 1], [1, 0]]
        let rolling = try evaluate(model, text, WindowPlan(.rolling, length: 4), extent: extent)
        #expect(rolling.tokensScored == 7)
        // 7 tokens of one bit over 4 words and 20 bytes.
        #expect(abs(try #require(rolling.wordPerplexity) - pow(2, 7.0 / 4)) < 1e-9)
        #expect(abs(try #require(rolling.bytePerplexity) - pow(2, 7.0 / 20)) < 1e-9)
        #expect(abs(try #require(rolling.bitsPerByte) - 7.0 / 20) < 1e-9)
        let strided = try evaluate(model, [text[0]], WindowPlan(.strided(stride: 2), length: 4), extent: extent)
        #expect(abs(try #require(strided.bitsPerByte) - 6.0 / 20) < 1e-9)
        // A dropped tail, a limit, tokens that are not the text's.
        #expect(try evaluate(model, [text[0]], WindowPlan(length: 4), extent: extent).wordPerplexity == nil)
        #expect(try evaluate(model, text, WindowPlan(.rolling, length: 4, limit: 1), extent: extent).bitsPerByte == nil)
        #expect(try evaluate(model, text, WindowPlan(.rolling, length: 4)).bitsPerByte == nil)
    }

    @Test("Several files together weigh every token the same")
    func joint() throws {
        let model = try TableModel(table: [[0, Float(log(3.0))], [0, 0]])
        let plan = try WindowPlan(.rolling, length: 4)
        let texts = [[0, 0, 0, 0, 0, 1], [1, 1]]
        let one = try evaluate(model, [texts[0]], plan, extent: TextExtent(of: ["a b"]))
        let other = try evaluate(model, [texts[1]], plan, extent: TextExtent(of: ["c"]))
        let both = try evaluate(model, texts, plan, extent: TextExtent(of: ["a b", "c"]))
        let joint = try #require(PerplexityResult.joint([one, other]))
        #expect(joint.text == "text + text")
        #expect(joint.negativeLogLikelihood == both.negativeLogLikelihood)
        #expect(joint.extent == both.extent)
        #expect(joint.windows == 3 && joint.tokensScored == 6)
        #expect(PerplexityResult.joint([]) == nil)
    }

    @Test("Batches give the figures of single windows")
    func batches() throws {
        let model = try TableModel(table: [[0, 1], [2, 0]])
        let tokens = (0..<50).map { $0 * $0 % 3 % 2 }
        let single = try evaluate(model, [tokens], WindowPlan(.strided(stride: 3), length: 7))
        for batchSize in [2, 5, 100] {
            let batched = try evaluate(
                model, [tokens], WindowPlan(.strided(stride: 3), length: 7), batchSize: batchSize)
            #expect(batched == single)
        }
    }

    @Test("Progress comes once per batch with the result so far, and can end the evaluation")
    func progress() throws {
        let model = try TableModel(table: Array(repeating: [0, 0], count: 2))
        let text = TokenizedText(name: "", sequences: [Array(repeating: 1, count: 40)])
        let plan = try WindowPlan(length: 10, limit: 3)
        #expect(plan.windowCount(of: text) == 3)
        var calls: [Int] = []
        let result = try Perplexity(plan, batchSize: 2).evaluate(model, text: text) { soFar in
            #expect(abs(soFar.perplexity - 2) < 1e-12)
            calls.append(soFar.windows)
        }
        #expect(calls == [2, 3])
        #expect(result.windows == 3)
        #expect(throws: CancellationError.self) {
            try Perplexity(plan).evaluate(model, text: text) { _ in throw CancellationError() }
        }
    }

    @Test("The error of a mean of clusters is that of the ratio estimator")
    func clusteredMean() throws {
        var mean = ClusteredMean()
        mean.add(sum: 6, count: 3)
        #expect(mean.mean == 2 && mean.standardError == nil)
        mean.add(sum: 2, count: 2)
        mean.add(sum: 2, count: 5)
        // Mean 1; the clusters' residuals 3, 0 and −3; √(3/2 · 18) / 10.
        #expect(mean.mean == 1 && mean.clusters == 3 && mean.count == 10)
        #expect(abs(try #require(mean.standardError) - 27.0.squareRoot() / 10) < 1e-12)
    }
}
