import Foundation
import TensorFiles
import Testing
@testable import OneBitTraining


@Suite("Corpus synthesis")
struct SynthesisTests {
    private struct Stop: Error {}

    private func settings(_ first: SynthesisSettings.FirstToken = .uniform, batch: Int = 4) -> SynthesisSettings {
        SynthesisSettings(samples: 10, maximumLength: 12, batchSize: batch, firstToken: first, seed: 7)
    }

    private func lines(_ url: URL) throws -> [CorpusLine] {
        try Data(contentsOf: url).split(separator: 10).map { try JSONDecoder().decode(CorpusLine.self, from: $0) }
    }

    @Test("Each line holds a sample within its length, and its text", arguments: SynthesisSettings.FirstToken.allCases)
    func samples(first: SynthesisSettings.FirstToken) throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        let synthesizer = try CorpusSynthesizer(
            model: try TinyModels.random(seed: 2), tokenizer: LetterTokenizer(), settings: settings(first))
        let count = try synthesizer.write(to: output, resumes: false) { _ in }
        let samples = try lines(output)
        #expect(samples.count == 10)
        #expect(samples.reduce(0) { $0 + ($1.tokens?.count ?? 0) } == count)
        for sample in samples {
            let tokens = try #require(sample.tokens)
            #expect((1...12).contains(tokens.count))
            #expect(tokens.dropLast().allSatisfy { $0 != 2 }, "nothing behind the stop token")
            #expect(sample.text == LetterTokenizer().decode(tokens.filter { $0 != 2 }, skipSpecialTokens: true))
        }
        #expect(Set(samples.map { $0.tokens ?? [] }).count > 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["corpus.jsonl"])
    }

    @Test("The first tokens behind a uniform one are the model's most likely ones")
    func greedyStart() throws {
        let model = try TinyModels.random(seed: 2)
        let batch = SampleBatch(model: model, settings: settings(), beginOfSequence: 1, stops: [2])
        for sample in try batch.write(0..<4) where sample.count >= 4 {
            for position in 1..<4 {
                let prefix = [1] + sample.prefix(position)
                let logits = try TorchModel(model).logits(of: prefix).suffix(32)
                let best = logits.indices.max { logits[$0] < logits[$1] }! - logits.startIndex
                #expect(sample[position] == best)
            }
        }
    }

    @Test("A run stopped after any batch, even in the middle of a line, resumes to the same bytes")
    func resume() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let synthesizer = try CorpusSynthesizer(
            model: try TinyModels.random(seed: 2), tokenizer: LetterTokenizer(), settings: settings())
        let whole = directory.appending(path: "whole.jsonl")
        try synthesizer.write(to: whole, resumes: false) { _ in }

        let broken = directory.appending(path: "broken.jsonl")
        #expect(throws: Stop.self) {
            try synthesizer.write(to: broken, resumes: false) { if $0.samples == 8 { throw Stop() } }
        }
        #expect(!FileManager.default.fileExists(atPath: broken.path))
        let partial = broken.appendingPathExtension("partial")
        let handle = try FileHandle(forWritingTo: partial)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("{\"text\":\"torn".utf8))
        try handle.close()
        #expect(throws: TrainingError.workExists(directory: partial)) {
            try synthesizer.write(to: broken, resumes: false) { _ in }
        }
        try synthesizer.write(to: broken, resumes: true) { _ in }
        #expect(try Data(contentsOf: broken) == Data(contentsOf: whole))
    }

    @Test("Resuming with other settings is refused")
    func settingsChanged() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        let model = try TinyModels.random(seed: 2)
        func synthesizer(_ settings: SynthesisSettings) throws -> CorpusSynthesizer {
            try CorpusSynthesizer(model: model, tokenizer: LetterTokenizer(), settings: settings)
        }
        #expect(throws: Stop.self) {
            try synthesizer(settings()).write(to: output, resumes: false) { _ in throw Stop() }
        }
        #expect(throws: TrainingError.self) {
            try synthesizer(settings(batch: 5)).write(to: output, resumes: true) { _ in }
        }
    }

    @Test("A corpus becomes one stream with a BOS before each document, and bad lines are named")
    func corpusFile() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: "corpus.jsonl")
        func tokens(_ text: String, closes: Bool = false) throws -> [Int32] {
            try Data(text.utf8).write(to: file)
            return try Corpus.tokens(of: file, tokenizer: LetterTokenizer(), closesDocuments: closes)
        }
        #expect(try tokens("{\"text\":\"ab\"}\n{\"tokens\":[5,6],\"text\":\"zz\"}\n") == [1, 3, 4, 1, 5, 6])
        #expect(try tokens("{\"tokens\":[1,5,1]}\n{\"tokens\":[6]}\n") == [1, 5, 1, 6])
        #expect(try tokens("{\"text\":\"ab\"}\n{\"text\":\"c\"}\n", closes: true) == [1, 3, 4, 2, 1, 5, 2])
        #expect(throws: TrainingError.malformedCorpus(file: file, line: 2, reason: "neither text nor tokens")) {
            try tokens("{\"text\":\"ab\"}\n{}\n")
        }
        #expect(throws: TrainingError.self) { try tokens("{\"text\":\"ab\"}\n[1,2]\n") }
        #expect(throws: TrainingError.self) { try tokens("{\"tokens\":[32]}\n") }
        #expect(throws: TrainingError.self) { try tokens("{\"tokens\":[-1]}\n") }
    }
}
