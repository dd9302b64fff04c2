import Foundation
import Testing

@Suite("onebit perplexity and onebit compare")
struct PerplexityCommandTests {
    /// A model and two files of text beside it.
    private final class Subject {
        let model: ChatModel
        var directory: String { model.directory.path }
        let files: [String]

        init() throws {
            model = try ChatModel(template: nil)
            let texts = [
                "{\"text\": \"a story of a fox\"}\n{\"text\": \"and one of a hen\"}\n", "{\"text\": \"no story\"}\n",
            ]
            files = try texts.enumerated().map { [directory = model.directory] index, text in
                let file = directory.appending(path: "text\(index).jsonl")
                try Data(text.utf8).write(to: file)
                return file.path
            }
        }
    }

    private func json(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws
        -> [String: Any]
    {
        let outcome = try await BuiltCommand.run(arguments + ["--json", "--quiet"])
        #expect(outcome.exitCode == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
        return try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
    }

    @Test("Each file has its figures, and all together have theirs, with their definitions")
    func files() async throws {
        let subject = try Subject()
        let report = try await json(
            ["perplexity", subject.directory, "--protocol", "rolling", "--window", "8", "--text"] + subject.files)
        let files = try #require(report["files"] as? [[String: Any]])
        #expect(files.map { $0["source"] as? String } == ["text0.jsonl", "text1.jsonl"])
        for key in ["tokens_predicted", "windows", "words", "bytes"] {
            #expect(files.reduce(0) { $0 + ($1[key] as? Int ?? 0) } == report[key] as? Int, "\(key)")
        }
        #expect(report["words"] as? Int == 12 && report["bytes"] as? Int == 40)
        let definitions = try #require(report["definitions"] as? [String: String])
        for key in ["perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "perplexity_standard_error"] {
            #expect(report[key] is Double && definitions[key] != nil, "\(key)")
        }
    }

    @Test("Every protocol gives a figure, in batches the same, and a table for people")
    func protocols() async throws {
        let subject = try Subject()
        let call = ["perplexity", subject.directory, "--text", subject.files[0], "--window", "6"]
        for options in [[], ["--stride", "2"], ["--protocol", "llama.cpp"], ["--draw", "3"], ["--bos", "window"]] {
            let single = try await json(call + options)
            let batched = try await json(call + options + ["--batch-size", "4"])
            let (one, other) = (single["perplexity"] as? Double, batched["perplexity"] as? Double)
            #expect(try abs(#require(one) / #require(other) - 1) < 1e-6, "\(options)")
        }
        let table = try await BuiltCommand.run(call)
        #expect(table.output.contains("windows of 6 tokens") && table.output.contains("text0.jsonl"))
    }

    @Test("A model compared with itself has no divergence, and agrees everywhere")
    func itself() async throws {
        let subject = try Subject()
        let report = try await json(
            ["compare", subject.directory, subject.directory, "--window", "8", "--text"] + subject.files)
        let files = try #require(report["files"] as? [[String: Any]])
        #expect(files.count == 2)
        for file in files {
            func value(_ key: String) -> Double? { (file[key] as? [String: Any])?["value"] as? Double }
            #expect(value("kl_divergence") == 0 && file["kl_divergence_median"] as? Double == 0)
            #expect(value("top_one_agreement") == 1 && value("top_five_agreement") == 1)
            #expect(value("perplexity_ratio") == 1)
            #expect(value("teacher_perplexity") != nil && value("teacher_perplexity") == value("student_perplexity"))
        }
        let table = try await BuiltCommand.run(
            ["compare", subject.directory, subject.directory, "--window", "8", "--text", subject.files[0]])
        for word in ["KL divergence, median", "top-5 agreement", "ratio", "the student's 5 likeliest"] {
            #expect(table.output.contains(word), "\(word)")
        }
    }

    @Test("Options that contradict each other are wrong usage; texts that do not suit are named")
    func refusals() async throws {
        let subject = try Subject()
        let call = ["perplexity", subject.directory, "--text", subject.files[0]]
        for options in [
            ["--protocol", "rolling", "--stride", "4"], ["--draw", "2", "--stride", "4"], ["--protocol", "none"],
            ["--draw", "2", "--separator", " "], ["--batch-size", "0"], ["--limit-texts", "0"],
        ] {
            #expect(try await BuiltCommand.run(call + options).exitCode == 64, "\(options)")
        }
        for (options, word) in [
            (["--window", "1000"], "text0.jsonl"), (["--window", "1"], "window of 1"),
            (["--window", "8", "--stride", "9"], "stride of 9"), (["--protocol", "rolling", "--bos", "none"], "none"),
            (["--window", "90", "--draw", "2"], "text0.jsonl"), (["--window", "300000"], "200000"),
        ] {
            let outcome = try await BuiltCommand.run(call + options)
            #expect(outcome.exitCode == 1 && outcome.errors.contains(word), "\(options): \(outcome.errors)")
        }
    }

    @Test("Models whose tokenizers differ are not compared")
    func otherTokenizer() async throws {
        let (one, other) = (try Subject(), try Subject())
        let file = other.model.directory.appending(path: "tokenizer.json")
        // The same vocabulary with two of its bytes changed for each other.
        let json = try String(contentsOf: file, encoding: .utf8)
            .replacing("\"x\":", with: "\"swap\":").replacing("\"h\":", with: "\"x\":")
            .replacing("\"swap\":", with: "\"h\":")
        try Data(json.utf8).write(to: file)
        let outcome = try await BuiltCommand.run(
            ["compare", one.directory, other.directory, "--window", "8", "--text", one.files[0]])
        #expect(outcome.exitCode == 1)
        #expect(
            outcome.errors.contains("text0.jsonl") && outcome.errors.contains("tokenizers differ"), "\(outcome.errors)")
    }
}
