import Foundation
import JSON
import LanguageModel
import OneBitRuntime
import TensorFiles
import Testing
import Tokenization

@testable import CorpusSynthesis
@testable import OneBitTraining
@testable import ResumableRuns

@Suite("Corpus synthesis")
struct SynthesisTests {
    private struct Stop: Error {}

    private func settings(
        _ first: SynthesisSettings.FirstToken = .uniform, samples: Int = 10, length: Int = 12
    ) -> SynthesisSettings {
        SynthesisSettings(samples: samples, maximumLength: length, firstToken: first, seed: 7)
    }

    private func synthesizer(
        _ settings: SynthesisSettings, rows: Int = 4, threads: Int = 1, teacher: ContentDigest? = nil,
        arithmetic: String? = nil
    ) throws -> CorpusSynthesizer {
        try CorpusSynthesizer(
            model: try TinyModels.dense(seed: 2, threads: threads), tokenizer: LetterTokenizer(), settings: settings,
            teacher: teacher, arithmetic: arithmetic, limits: SynthesisLimits(rows: rows))
    }

    private func lines(_ url: URL) throws -> [CorpusLine] {
        try Data(contentsOf: url).split(separator: 10).map { try JSONDecoder().decode(CorpusLine.self, from: $0) }
    }

    @Test("Each line holds a sample within its length, and its text", arguments: SynthesisSettings.FirstToken.allCases)
    func samples(first: SynthesisSettings.FirstToken) throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        let synthesizer = try synthesizer(settings(first))
        let count = try synthesizer.write(to: output, resumes: false) { _ in }
        let samples = try lines(output)
        #expect(samples.count == 10)
        #expect(samples.reduce(0) { $0 + $1.tokens.count } == count + (first == .uniform ? 10 : 0))
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
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        let model = try TinyModels.dense(seed: 2)
        try synthesizer(settings()).write(to: output, resumes: false) { _ in }
        for sample in try lines(output).map(\.tokens) where sample.count >= 4 {
            for position in 1..<4 {
                let logits = try model.logits(of: [1] + sample.prefix(position)).suffix(32)
                let best = logits.indices.max { logits[$0] < logits[$1] }! - logits.startIndex
                #expect(sample[position] == best)
            }
        }
    }

    @Test("A corpus is the same whatever the number of rows and threads, and its beginning that of a longer one")
    func company() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        func corpus(_ samples: Int, rows: Int, threads: Int) throws -> Data {
            let output = directory.appending(path: "\(samples)-\(rows)-\(threads).jsonl")
            let synthesizer = try synthesizer(settings(samples: samples, length: 24), rows: rows, threads: threads)
            #expect(synthesizer.rows == min(rows, samples))
            try synthesizer.write(to: output, resumes: false) { _ in }
            return try Data(contentsOf: output)
        }
        let expected = try corpus(40, rows: 1, threads: 1)
        for (rows, threads) in [(3, 1), (16, 2), (64, 2)] {
            #expect(try corpus(40, rows: rows, threads: threads) == expected, "\(rows) rows, \(threads) threads")
        }
        let shorter = try corpus(15, rows: 4, threads: 1)
        #expect(expected.prefix(shorter.count) == shorter)
    }

    @Test(
        "A run stopped after any token, even in the middle of a line, resumes to the same bytes and writes nothing twice",
        arguments: [1, 40, 90], SynthesisSettings.FirstToken.allCases)
    func resume(stop: Int, first: SynthesisSettings.FirstToken) throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let whole = directory.appending(path: "whole.jsonl")
        let count = try synthesizer(settings(first)).write(to: whole, resumes: false) { _ in }
        try #require(count > 80)

        let broken = directory.appending(path: "broken.jsonl")
        #expect(throws: Stop.self) {
            try synthesizer(settings(first)).write(to: broken, resumes: false) { if $0.tokens >= stop { throw Stop() } }
        }
        #expect(!FileManager.default.fileExists(atPath: broken.path))
        let partial = broken.appendingPathExtension("partial")
        let handle = try FileHandle(forWritingTo: partial)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("{\"text\":\"torn".utf8))
        try handle.close()
        #expect(throws: RunError.workExists(directory: partial)) {
            try synthesizer(settings(first)).write(to: broken, resumes: false) { _ in }
        }
        let rest = try synthesizer(settings(first), rows: 3).write(to: broken, resumes: true) { _ in }
        #expect(rest <= count - min(stop, count))
        #expect(try Data(contentsOf: broken) == Data(contentsOf: whole))
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted()
                == ["broken.jsonl", "whole.jsonl"])
    }

    @Test("A run that was killed, and whose samples under way are lost or damaged, resumes to the same bytes")
    func killed() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let whole = directory.appending(path: "whole.jsonl")
        try synthesizer(settings()).write(to: whole, resumes: false) { _ in }
        let damages: [(URL) throws -> Void] = [
            { try FileManager.default.removeItem(at: $0) },
            { try Data("{\"number\":9,\"isFin".utf8).write(to: $0) },
            { try Data("{\"number\":9,\"isFinished\":false,\"tokens\":[99]}\n".utf8).write(to: $0) },
            { try Data("{\"number\":900,\"isFinished\":true,\"tokens\":[9]}\n".utf8).write(to: $0) },
        ]
        for (index, damage) in damages.enumerated() {
            let broken = directory.appending(path: "broken-\(index).jsonl")
            #expect(throws: Stop.self) {
                try synthesizer(settings()).write(to: broken, resumes: false) { if $0.tokens >= 70 { throw Stop() } }
            }
            try damage(broken.appendingPathExtension("unfinished.jsonl"))
            try synthesizer(settings()).write(to: broken, resumes: true) { _ in }
            #expect(try Data(contentsOf: broken) == Data(contentsOf: whole))
        }
    }

    @Test("A cancelled task stops between tokens and keeps whole lines")
    func cancellation() async throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        let cancel = Canceller()
        let synthesizer = try synthesizer(settings(samples: 1_000_000), threads: 2)
        let task = Task {
            try synthesizer.write(to: output, resumes: false) { now in
                if now.samples > 40 { cancel.cancel() }
            }
        }
        cancel.set { task.cancel() }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try lines(output.appendingPathExtension("partial")).count > 30)
    }

    @Test("Rows are as many as the memory for keys and values has room for; less than one is refused")
    func budget() throws {
        let model = try TinyModels.dense(seed: 2)
        func rows(_ limits: SynthesisLimits) throws -> Int {
            try CorpusSynthesizer(
                model: model, tokenizer: LetterTokenizer(), settings: settings(samples: 200), limits: limits
            ).rows
        }
        let sample = model.cacheByteCount(positions: 13)
        #expect(try rows(SynthesisLimits(cacheBytes: 5 * sample + 1)) == 5)
        #expect(try rows(SynthesisLimits(rows: 3, cacheBytes: 5 * sample)) == 3)
        #expect(try rows(SynthesisLimits()) == 64)
        #expect(throws: RunError.self) { try rows(SynthesisLimits(cacheBytes: sample - 1)) }
        #expect(throws: RunError.self) { try rows(SynthesisLimits(rows: 0)) }
    }

    @Test("The estimate of a run's tokens begins at the most that there can be and ends at what there were")
    func expectedTokens() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        var estimates: [Int] = []
        let count = try synthesizer(settings(samples: 30)).write(to: output, resumes: false) {
            estimates.append($0.expectedTokens)
        }
        #expect(estimates.first == 30 * 12)
        #expect(estimates.last == count)
        #expect(estimates.allSatisfy { (1...30 * 12).contains($0) })
    }

    @Test("The rate is measured in the time that is given, and falls with the length of the samples")
    func rate() throws {
        let rate = try synthesizer(settings(length: 24)).measureRate(for: .milliseconds(30))
        #expect(rate.rows == 4 && rate.passSeconds > 0)
        #expect(rate.tokensPerSecond(maximumLength: 2000) <= rate.tokensPerSecond(maximumLength: 10))
    }

    @Test("With leave to overwrite, the old corpus stands until the new one is whole, and nothing else is left")
    func overwrite() throws {
        let directory = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "corpus.jsonl")
        try Data("old".utf8).write(to: output)
        let synthesizer = try synthesizer(settings())
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
            model: try TinyModels.dense(seed: 2), tokenizer: SmallTokenizer(), settings: settings(samples: 40)
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
        #expect(throws: Stop.self) {
            try synthesizer(settings()).write(to: output, resumes: false) { _ in throw Stop() }
        }
        func expectChanged(_ name: String, _ changed: CorpusSynthesizer) {
            #expect {
                try changed.write(to: output, resumes: true) { _ in }
            } throws: { error in
                guard case .settingsChanged(_, name, _, _)? = error as? RunError else { return false }
                return true
            }
        }
        expectChanged("maximum_length", try synthesizer(settings(length: 13)))
        expectChanged("teacher", try synthesizer(settings(), teacher: ContentDigest(of: [1])))
        expectChanged("arithmetic", try synthesizer(settings(), arithmetic: "bfloat16"))
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
