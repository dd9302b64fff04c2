import Foundation
import LanguageModel
import Testing

@testable import OneBitEvaluation

@Suite("Measures and their standard errors")
struct EstimateTests {
    @Test("A mean and the error of a sample's mean")
    func mean() {
        // Mean ¾; Σ (x − m)² = 3/16 + 9/16; over n − 1 = 3 it is ¼; its root over √4 is ¼.
        let estimate = Estimate(meanOf: [1, 1, 0, 1])
        #expect(estimate == Estimate(value: 0.75, standardError: 0.25, count: 4))
        #expect(Estimate(meanOf: [1]) == Estimate(value: 1, standardError: nil, count: 1))
    }

    @Test("Perplexity and its error")
    func perplexity() throws {
        let estimate = Estimate(perplexityOf: [-1, -3])
        #expect(abs(estimate.value - exp(2)) < 1e-12)
        // The mean's error is √2 / √2.
        #expect(abs(try #require(estimate.standardError) - exp(2)) < 1e-12)
    }

    @Test("Parts are weighted by their size and their errors pooled")
    func pooling() throws {
        let parts = [
            Estimate(value: 0.5, standardError: 0.1, count: 3), Estimate(value: 1, standardError: 0.2, count: 2),
        ]
        let pooled = Estimate(pooling: parts)
        #expect(abs(pooled.value - 0.7) < 1e-12)
        // (2·3·0.01 + 1·2·0.04) / (5 − 2) / 5 = 0.14 / 15
        #expect(abs(try #require(pooled.standardError) - (0.14 / 15).squareRoot()) < 1e-12)
        #expect(pooled.count == 5)
        #expect(Estimate(pooling: parts + [Estimate(meanOf: [1])]).standardError == nil)
    }

    private func result(
        _ sums: [Double], lengths: [Int], answer: Int, subject: String? = nil, isGreedy: Bool = false,
        isTruncated: Bool = false
    ) -> ItemResult {
        let choices = lengths.map { TaskItem.Choice(context: "c", continuation: " x", length: $0) }
        return ItemResult(
            item: TaskItem(file: "f", line: 1, subject: subject, choices: choices, answer: answer),
            scores: sums.map { ContinuationScore(logLikelihood: $0, isGreedy: isGreedy) }, isTruncated: isTruncated)
    }

    @Test("acc takes the likeliest choice, acc_norm the likeliest per character; of equal ones the first")
    func accuracy() {
        let long = result([-4, -6], lengths: [2, 6], answer: 1)
        #expect(!long.isRight)
        #expect(long.isRightNormalized)
        #expect(result([-3, -3], lengths: [1, 1], answer: 0).isRight)
        #expect(!result([-3, -3], lengths: [1, 1], answer: 1).isRight)
        #expect(!result([-2, -4], lengths: [1, 2], answer: 1).isRightNormalized)
    }

    @Test("A task without subjects: shares of its items, truncated ones counted")
    func task() {
        let result = TaskResult(
            [
                self.result([-1, -2], lengths: [1, 4], answer: 0, isTruncated: true),
                self.result([-1, -2], lengths: [1, 4], answer: 1),
            ], scoring: .multipleChoice)
        #expect(result.metrics[.accuracy]?.value == 0.5)
        #expect(result.metrics[.normalizedAccuracy]?.value == 0.5)
        #expect(result.itemCount == 2)
        #expect(result.truncatedCount == 1)
        #expect(result.subjects.isEmpty)
    }

    @Test("A task with subjects: each subject's share, and the whole weighted by size")
    func subjects() {
        let items = [("law", 0), ("law", 1), ("art", 0), ("law", 0), ("art", 0)].map {
            self.result([-1, -2], lengths: [1, 1], answer: $0.1, subject: $0.0)
        }
        let result = TaskResult(items, scoring: .multipleChoice)
        #expect(result.subjects.map(\.name) == ["art", "law"])
        #expect(result.subjects[0].metrics[.accuracy]?.value == 1)
        #expect(result.metrics[.accuracy]?.value == 0.8)
    }

    @Test("Of a single continuation, acc is whether greedy decoding writes it")
    func continuation() {
        let result = TaskResult(
            [
                self.result([-1], lengths: [1], answer: 0, isGreedy: true), self.result([-2], lengths: [1], answer: 0),
            ], scoring: .continuation)
        #expect(result.metrics[.accuracy]?.value == 0.5)
        #expect(result.metrics[.perplexity]?.value == exp(1.5))
        #expect(result.metrics[.normalizedAccuracy] == nil)
    }
}
