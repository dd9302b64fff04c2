import Foundation
import LanguageModel
import Testing

@testable import OneBitEvaluation

@Suite struct ModelComparisonTests {
    private func compare(_ teacher: [Float], _ student: [Float], target: Int = 0) -> TokenComparison {
        teacher.withUnsafeBufferPointer { teacher in
            student.withUnsafeBufferPointer { TokenComparison(teacher: teacher, student: $0, target: target) }
        }
    }

    @Test("KL(¾, ¼ ‖ ½, ½) and the other way round, by hand")
    func divergence() {
        let (skewed, even): ([Float], [Float]) = ([Float(log(3.0)), 0], [7, 7])
        let there = compare(skewed, even, target: 1)
        #expect(abs(there.divergence - (0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5))) < 1e-7)
        #expect(abs(there.teacherLoss + log(0.25)) < 1e-7)
        #expect(abs(there.studentLoss + log(0.5)) < 1e-7)
        let back = compare(even, skewed)
        #expect(abs(back.divergence - (0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25))) < 1e-7)
    }

    @Test("Equal predictions have no divergence at all, whatever is added to their logits")
    func equal() {
        let logits: [Float] = [30000, 29999.5, -30000, 0.25, 1]
        #expect(compare(logits, logits).divergence == 0)
        #expect(compare(logits, logits.map { $0 + 64 }).divergence < 1e-6)
        #expect(compare(logits, logits).teacherLoss.isFinite)
    }

    @Test(
        "A token that the student rules out and the teacher does not is infinitely far; the other way round it is not")
    func ruledOut() {
        #expect(compare([0, 0], [0, -.infinity]).divergence == .infinity)
        #expect(abs(compare([0, -.infinity], [0, 0]).divergence - log(2)) < 1e-7)
    }

    @Test(
        "The rank counts what the student finds likelier than the teacher's likeliest; of equals the first is likelier")
    func rank() {
        #expect(compare([1, 5, 2], [1, 5, 2]).rank == 0)
        #expect(compare([1, 5, 2], [9, 5, 8]).rank == 2)
        #expect(compare([0, 0, 0], [0, 0, 0]).rank == 0)
        #expect(compare([0, 1, 0], [3, 3, 3]).rank == 1)
    }

    @Test("Perplexities of a comparison are those of the models alone; the ratio is theirs")
    func figures() throws {
        let teacher = try TableModel(table: [[0, Float(log(3.0))], [0, 0]])
        let student = try TableModel(table: [[0, 0], [0, Float(log(3.0))]])
        let text = TokenizedText(name: "text", sequences: [[0, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1]])
        let plan = try WindowPlan(.strided(stride: 2), length: 4)
        let result = try ModelComparison(plan).evaluate(teacher: teacher, student: student, text: text)
        for (found, model) in [(result.teacher, teacher), (result.student, student)] {
            let alone = try Perplexity(plan).evaluate(model, text: text)
            #expect(abs(found.perplexity - alone.perplexity) < 1e-6)
            #expect(found.windows == alone.windows && found.tokensScored == alone.tokensScored)
        }
        #expect(abs(result.perplexityRatio - result.student.perplexity / result.teacher.perplexity) < 1e-9)
        // Predicted after a 0 five times and after a 1 five times, of which each has its divergence.
        let (afterZero, afterOne) = (0.75 * log(1.5) + 0.25 * log(0.5), 0.5 * log(2.0 / 3) + 0.5 * log(2))
        #expect(abs(result.divergence.mean - (afterZero + afterOne) / 2) < 1e-7)
        #expect(abs(result.medianDivergence - (afterZero + afterOne) / 2) < 1e-7)
        #expect(abs(result.largestDivergence - max(afterZero, afterOne)) < 1e-7)
        // The windows' own figures are parts of the whole, and every token is in one range of the distribution.
        let tokens = result.windows.reduce(0) { $0 + $1.tokens }
        let sum = result.windows.reduce(0) { $0 + $1.divergence * Double($1.tokens) }
        #expect(result.windows.count == result.teacher.windows && tokens == result.teacher.tokensScored)
        #expect(abs(sum / Double(tokens) - result.divergence.mean) < 1e-12)
        for divergence in [afterZero, afterOne] {
            #expect(result.divergenceShares.contains { $0.range.contains(divergence) && $0.share > 0.4 })
        }
        #expect(abs(result.divergenceShares.reduce(0) { $0 + $1.share } - 1) < 1e-12)
        // Of equal logits the first is the likeliest: teacher 1 and 0, student 0 and 1.
        #expect(result.topOneAgreement.mean == 0)
        #expect(result.topFiveAgreement.mean == 1)
    }

    @Test("Quantiles lie on the line between neighbors")
    func quantiles() {
        let quantiles = Quantiles([3, 1, 2, .infinity])
        #expect(quantiles(0) == 1 && quantiles(0.5) == 2.5 && quantiles(1) == .infinity)
        #expect(quantiles(0.25) == 1.75)
        #expect(Quantiles([])(0.5).isNaN)
    }

    @Test("Models of two vocabularies and tokenizers that differ are refused by name")
    func refusals() throws {
        let (two, three) = (try TableModel(table: [[0, 0], [0, 0]]), try TableModel(table: [[0, 0, 0]]))
        let text = TokenizedText(name: "a.txt", sequences: [[0, 0, 0, 0]])
        #expect(throws: ComparisonError.vocabulariesDiffer(teacher: 2, student: 3)) {
            try ModelComparison(WindowPlan(length: 2)).evaluate(teacher: two, student: three, text: text)
        }
        func common(_ student: ByteTokenizer) throws -> TokenizedText {
            try ModelComparison.commonTokens(teacher: ByteTokenizer(), student: student) { tokenizer in
                TokenizedText(name: "a.txt", sequences: [[0], try tokenizer.encode("ab", addSpecialTokens: false)])
            }
        }
        #expect(try common(ByteTokenizer()).sequences == [[0], [97, 98]])
        #expect(throws: ComparisonError.vocabulariesDiffer(teacher: 300, student: 301)) {
            try common(ByteTokenizer(vocabularySize: 301))
        }
        #expect(throws: ComparisonError.tokensDiffer(text: "a.txt", position: 1)) {
            try common(ByteTokenizer(offset: 1))
        }
    }
}
