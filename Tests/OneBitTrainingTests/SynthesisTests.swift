import Foundation
import JSON
import TensorFiles
import Testing
import Tokenization

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
        #expect(samples.reduce(0) { $0 + $1.tokens.count } == count)
        for sample in samples {
            let tokens = sample.tokens
            #expect((1...12).contains(tokens.count))
            #expect(tokens.dropLast().allSatisfy { $0 != 2 }, "nothing behind the stop token")
            #expect(sample.text == LetterTokenizer().decode(tokens.filter { $0 != 2 }, skipSpecialTokens: true))
        }
        #expect(Set(samples.map { $0.tokens }).count > 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["corpus.jsonl"])
    }

    @Test("The first tokens behind a uniform one are the model's most likely ones")
    func greedyStart() throws {
        let model = try TinyModels.random(seed: 2)
        let batch = SampleBatch(
            model: model, settings: settings(), beginOfSequence: 1, stops: [2], firstTokens: 32)
        for sample in try batch.write(0..<4) where sample.count >= 4 {
            for position in 1..<4 {
                let prefix = [1] + sample.prefix(position)
                let logits = try TorchModel(model).logits(of: prefix).suffix(32)
                let best = logits.indices.max { logits[$0] < logits[$1] }! - logits.startIndex
                #expect(sample[position] == best)
            }
        }
    }

    @Test(
        "A run stopped after any token, even in the middle of a line, resumes to the same bytes",
        arguments: [3, 40, 90])
    func resume(stop: Int) throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let synthesizer = try CorpusSynthesizer(
            model: try TinyModels.random(seed: 2), tokenizer: LetterTokenizer(), settings: settings(), threads: 2)
        let whole = directory.appending(path: "whole.jsonl")
        let count = try synthesizer.write(to: whole, resumes: false) { _ in }
        try #require(count > 90)

        let broken = directory.appending(path: "broken.jsonl")
        #expect(throws: Stop.self) {
            try synthesizer.write(to: broken, resumes: false) { if $0.tokens >= stop { throw Stop() } }
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

    @Test("A cancelled task stops between tokens and keeps the whole batches")
    func cancellation() async throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        let model = try TinyModels.random(seed: 2)
        let cancel = Canceller()
        let task = Task {
            let synthesizer = try CorpusSynthesizer(
                model: model, tokenizer: LetterTokenizer(),
                settings: SynthesisSettings(samples: 1_000_000, maximumLength: 12, batchSize: 4, seed: 7), threads: 2)
            try synthesizer.write(to: output, resumes: false) { now in
                if now.samples > 40 { cancel.cancel() }
            }
        }
        cancel.set(task.cancel)
        await #expect(throws: CancellationError.self) { try await task.value }
        let kept = try lines(output.appendingPathExtension("partial"))
        #expect(!kept.isEmpty && kept.count % 4 == 0)
    }

    @Test("With leave to overwrite, the old corpus stands until the new one is whole, and nothing else is left")
    func overwrite() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        try Data("old".utf8).write(to: output)
        let synthesizer = try CorpusSynthesizer(
            model: try TinyModels.random(seed: 2), tokenizer: LetterTokenizer(), settings: settings())
        #expect(throws: FileError.destinationExists(path: output.path)) {
            try synthesizer.write(to: output, resumes: false) { _ in }
        }
        #expect(throws: Stop.self) {
            try synthesizer.write(to: output, resumes: false, overwrite: true) { _ in throw Stop() }
        }
        #expect(try Data(contentsOf: output) == Data("old".utf8))
        try synthesizer.write(to: output, resumes: true, overwrite: true) { _ in }
        #expect(try lines(output).count == 10)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["corpus.jsonl"])
        try FileManager.default.createDirectory(
            at: directory.appending(path: "folder.jsonl"), withIntermediateDirectories: true)
        #expect(throws: FileError.self) {
            try synthesizer.write(
                to: directory.appending(path: "folder.jsonl"), resumes: false, overwrite: true
            ) { _ in }
        }
    }

    @Test("Rows that pad a model's table are written and read, but no sample begins with one")
    func paddedVocabulary() throws {
        struct SmallTokenizer: Tokenizer {
            var vocabularySize: Int { 8 }
            var beginOfSequence: Int? { 1 }
            var endOfSequence: Int? { 2 }
            func encode(_ text: String, addSpecialTokens: Bool) -> [Int] { [] }
            func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { "" }
            func id(of token: String) -> Int? { nil }
            func token(of id: Int) -> String? { nil }
        }
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        try CorpusSynthesizer(
            model: try TinyModels.random(seed: 2), tokenizer: SmallTokenizer(),
            settings: SynthesisSettings(samples: 40, maximumLength: 12, batchSize: 20, seed: 7)
        ).write(to: output, resumes: false) { _ in }
        let samples = try lines(output).map(\.tokens)
        #expect(samples.allSatisfy { $0[0] < 8 })
        #expect(samples.joined().contains { $0 >= 8 })
        let stream = try Corpus.tokens(of: output, tokenizer: SmallTokenizer(), vocabularySize: 32)
        #expect(stream.contains { $0 >= 8 })
        #expect {
            try Corpus.tokens(of: output, tokenizer: SmallTokenizer(), vocabularySize: 8)
        } throws: { error in
            guard case .malformedCorpus(output, .some, let reason)? = error as? TrainingError else { return false }
            return reason.contains("vocabulary of 8")
        }
    }

    @Test("Errors name the line that an editor shows, blank lines and CRLF counted, in a plain and in a gzipped file")
    func lineNumbers() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let text = "\r\n{\"text\":\"ab\"}\r\n\n \r\n{\"tokens\":[99]}\r\n"
        let plain = directory.appending(path: "corpus.jsonl")
        try Data(text.utf8).write(to: plain)
        let zip = Process()
        zip.executableURL = URL(filePath: "/usr/bin/env")
        zip.arguments = ["gzip", "-k", plain.path]
        try zip.run()
        zip.waitUntilExit()
        for file in [plain, directory.appending(path: "corpus.jsonl.gz")] {
            #expect {
                try Corpus.tokens(of: file, tokenizer: LetterTokenizer(), vocabularySize: 32)
            } throws: { error in
                guard case .malformedCorpus(file, 5, let reason)? = error as? TrainingError else { return false }
                return reason.contains("99")
            }
            #expect(
                try Corpus.tokens(of: file, tokenizer: LetterTokenizer(), vocabularySize: 100) == [1, 3, 4, 1, 99])
        }
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
        #expect {
            try synthesizer(settings(batch: 5)).write(to: output, resumes: true) { _ in }
        } throws: { error in
            guard case .settingsChanged(_, "batch_size", "4", "5")? = error as? TrainingError else { return false }
            return true
        }
        #expect {
            try CorpusSynthesizer(
                model: model, tokenizer: LetterTokenizer(), settings: settings(), teacher: ContentDigest(of: [1])
            ).write(to: output, resumes: true) { _ in }
        } throws: { error in
            guard case .settingsChanged(_, "teacher", _, _)? = error as? TrainingError else { return false }
            return true
        }
    }

    @Test("A corpus becomes one stream with a BOS before each document, and bad lines are named")
    func corpusFile() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: "corpus.jsonl")
        func tokens(_ text: String, closes: Bool = false) throws -> [Int32] {
            try Data(text.utf8).write(to: file)
            return try Corpus.tokens(
                of: file, tokenizer: LetterTokenizer(), vocabularySize: 32, closesDocuments: closes)
        }
        #expect(try tokens("{\"text\":\"ab\"}\n{\"tokens\":[5,6],\"text\":\"zz\"}\n") == [1, 3, 4, 1, 5, 6])
        #expect(try tokens("{\"tokens\":[1,5,1]}\n{\"tokens\":[6]}\n") == [1, 5, 1, 6])
        #expect(try tokens("{\"text\":\"ab\"}\n{\"text\":\"c\"}\n", closes: true) == [1, 3, 4, 2, 1, 5, 2])
        #expect(throws: TrainingError.malformedCorpus(file: file, line: 2, reason: "neither text nor tokens")) {
            try tokens("{\"text\":\"ab\"}\n{}\n")
        }
        #expect(throws: JSONNodeError.self) { try tokens("{\"text\":\"ab\"}\n[1,2]\n") }
        #expect(throws: TrainingError.self) { try tokens("{\"tokens\":[32]}\n") }
        #expect(throws: TrainingError.self) { try tokens("{\"tokens\":[-1]}\n") }
    }
}
