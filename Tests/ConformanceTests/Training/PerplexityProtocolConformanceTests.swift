import Foundation
import ModelDescription
import OneBitEvaluation
import OneBitTraining
import TestSupport
import Testing
import Tokenization

/// The figures of every protocol on the teacher, against transformers and lm-evaluation-harness: those of
/// Reference/perplexity_protocols.json, which scripts/reference/perplexity_protocols.py dumped.
@Suite("Perplexity protocols, against transformers", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct PerplexityProtocolConformanceTests {
    private struct Figures: Decodable {
        var perplexity: Double
        var standardError: Double
        var windows: Int
        var tokensScored: Int
        var wordPerplexity: Double?
        var bytePerplexity: Double?
        var bitsPerByte: Double?
    }

    private struct Reference: Decodable {
        var strided: Figures
        var rolling: Figures
        var secondHalf: Figures
        var drawn: Figures
    }

    private let model: TorchModel
    private let tokenizer: any Tokenizer
    private let reference: Reference

    init() throws {
        let directory = SharedData.url("models/stories260K")
        model = try TorchModel(checkpoint: Checkpoint(directory: directory), threads: 1)
        tokenizer = try loadTokenizer(from: directory)
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Reference/perplexity_protocols.json")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        reference = try decoder.decode(Reference.self, from: Data(contentsOf: file))
    }

    private func stories(_ limit: Int) throws -> EvaluationText {
        try EvaluationText(file: SharedData.url("data/corpus/valid.jsonl"), limit: limit)
    }

    private func expect(
        _ text: TokenizedText, _ plan: WindowPlan, equals expected: Figures,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let found = try Perplexity(plan, batchSize: 4).evaluate(model, text: text)
        #expect(found.windows == expected.windows, sourceLocation: sourceLocation)
        #expect(found.tokensScored == expected.tokensScored, sourceLocation: sourceLocation)
        let pairs = [
            (found.perplexity, expected.perplexity), (found.standardError, expected.standardError),
            (found.wordPerplexity, expected.wordPerplexity), (found.bytePerplexity, expected.bytePerplexity),
            (found.bitsPerByte, expected.bitsPerByte),
        ]
        for (found, expected) in pairs {
            #expect((found == nil) == (expected == nil), sourceLocation: sourceLocation)
            if let found, let expected { #expect(abs(found / expected - 1) < 1e-5, sourceLocation: sourceLocation) }
        }
    }

    @Test("The sliding window of transformers")
    func strided() throws {
        let text = try stories(20).joined(
            tokenizer: tokenizer, beginOfSequence: tokenizer.beginOfSequence, placement: .front)
        try expect(text, WindowPlan(.strided(stride: 128), length: 512), equals: reference.strided)
    }

    @Test("The rolling log-likelihood of lm-evaluation-harness, per word, byte and in bits")
    func rolling() throws {
        try expect(
            stories(20).separate(tokenizer: tokenizer), WindowPlan(.rolling, length: 64), equals: reference.rolling)
    }

    @Test("The second halves of llama.cpp")
    func secondHalf() throws {
        let text = try stories(20).joined(
            tokenizer: tokenizer, beginOfSequence: tokenizer.beginOfSequence, placement: .window)
        try expect(text, WindowPlan(.secondHalf, length: 256), equals: reference.secondHalf)
    }

    @Test("The segments that OneBit's evaluation draws from C4")
    func drawn() throws {
        let text = try stories(.max).drawn(
            segments: 16, length: 200, seed: 0, tokenizer: tokenizer, beginOfSequence: tokenizer.beginOfSequence,
            placement: .front)
        try expect(text, WindowPlan(length: 200), equals: reference.drawn)
    }
}
