import Foundation
import OneBitEvaluation
import TestSupport
import Testing
import Tokenization

/// The texts of the perplexity protocol as transformers and the data sets library give them.
@Suite(.enabled(if: SharedData.isPresent, "needs ../shared"))
struct RuntimePerplexityTests {
    @Test("WikiText-2 and the validation stories have the reference's token ids")
    func tokenIds() throws {
        struct Reference: Decodable {
            let tokens: Int
            let first16TokenIds: [Int]
            let tokenIdsSum: Int
        }
        struct File: Decodable {
            let wikitext2Test: Reference
            let corpusValid: Reference
        }
        let data = try Data(contentsOf: SharedData.url("data/reference/stories260K/perplexity.json"))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let reference = try decoder.decode(File.self, from: data)
        let tokenizer = try loadTokenizer(from: SharedData.url("models/stories260K"))
        for (path, format, expected) in [
            ("data/eval/wikitext2_test.raw.txt", EvaluationTextFormat.wikitext, reference.wikitext2Test),
            ("data/corpus/valid.jsonl", .jsonl, reference.corpusValid),
        ] {
            let text = try EvaluationText(file: SharedData.url(path), format: format)
            let ids = try text.joined(
                tokenizer: tokenizer, beginOfSequence: tokenizer.beginOfSequence, placement: .front
            ).sequences[0]
            #expect(ids.count == expected.tokens)
            #expect(Array(ids.prefix(16)) == expected.first16TokenIds)
            #expect(ids.reduce(0, +) == expected.tokenIdsSum)
        }
    }
}
