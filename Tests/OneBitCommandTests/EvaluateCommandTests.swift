import Foundation
import TestSupport
import Testing

@Suite("onebit evaluate")
struct EvaluateCommandTests {
    /// A model of random weights, and data sets of `count` items beside it.
    private final class Setting {
        let model: ChatModel
        private let folder: TemporaryDirectory
        var data: URL { folder.url }

        init(count: Int = 5) throws {
            model = try ChatModel(template: nil)
            folder = try TemporaryDirectory()
            try write("piqa.jsonl", (0..<count).map(Self.piqa))
            try write(
                "own.jsonl",
                (0..<count).map { #"{"q": "What is \#($0)?", "c": ["a", "number", "or not"], "a": \#($0 % 3)}"# })
            try write(
                "own.json",
                [#"{"name": "own", "data": "own.jsonl", "context": "{q}", "choices": "c", "answer": "a"}"#])
            try write("lambada_openai.jsonl", (0..<count).map { #"{"text": "a story of \#($0) words"}"# })
        }

        static func piqa(_ number: Int) -> String {
            #"{"goal": "count to \#(number)", "sol1": "slowly", "sol2": "at once", "label": \#(number % 2)}"#
        }

        func write(_ name: String, _ lines: [String]) throws {
            try folder.write(lines.joined(separator: "\n") + "\n", as: name)
        }

        func path(_ name: String) -> String { data.appending(path: name).path }

        func arguments(_ more: [String] = []) -> [String] {
            ["evaluate", model.directory.path, "--data", data.path, "--tasks", "piqa", "--threads", "1", "--quiet"]
                + more
        }

        func run(_ more: [String] = []) async throws -> BuiltCommand.Outcome {
            try await BuiltCommand.run(arguments(more))
        }
    }

    private func object(_ text: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }

    @Test("Names, files of one's own, and what they scored: tables, JSON and lines of items")
    func everyOutput() async throws {
        let setting = try Setting()
        let tasks = ["--tasks", "piqa,lambada_openai,\(setting.path("own.json"))"]
        let table = try await setting.run(tasks + ["--items", setting.path("items.jsonl")])
        #expect(table.exitCode == 0)
        let titles = try #require(table.output.split(separator: "\n").first)
        #expect(
            titles.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
                == ["Model", "PIQA", "LAMBADA", "own", "Avg."])
        #expect(table.output.contains("acc of LAMBADA") && table.output.contains("acc_norm of PIQA, own"))
        let items = try String(contentsOfFile: setting.path("items.jsonl"), encoding: .utf8).split(separator: "\n")
        #expect(items.count == 15)
        let last = try object(String(items[14]))
        #expect(last["task"] as? String == "own" && last["line"] as? Int == 5 && last["answer"] as? Int == 1)
        #expect((last["log_likelihoods"] as? [Double])?.count == 3)
        #expect(last["lengths"] as? [Int] == [1, 6, 6])

        let report = try object(try await setting.run(tasks + ["--json"]).output)
        let model = try #require((report["models"] as? [[String: Any]])?.first)
        let results = try #require(model["tasks"] as? [[String: Any]])
        #expect(results.map { $0["task"] as? String } == ["piqa", "lambada_openai", "own"])
        for (result, metrics) in zip(results, [["acc", "acc_norm"], ["acc", "perplexity"], ["acc", "acc_norm"]]) {
            let figures = try #require(result["metrics"] as? [String: [String: Double]])
            #expect(figures.keys.sorted() == metrics)
            #expect(figures.values.allSatisfy { $0["value"] != nil && $0["standard_error"] != nil })
            #expect(result["items"] as? Int == 5 && result["truncated"] as? Int == 0)
        }
        #expect(report["original"] == nil)
    }

    @Test("Several models are rows; what they keep is measured by the original, which comes first")
    func kept() async throws {
        let setting = try Setting()
        let other = try ChatModel(template: nil)
        let outcome = try await setting.run(["--original", other.directory.path, "--json"])
        let report = try object(outcome.output)
        let models = try #require(report["models"] as? [[String: Any]])
        #expect(models.map { $0["directory"] as? String } == [other.directory.path, setting.model.directory.path])
        #expect(report["original"] as? String == other.directory.lastPathComponent)
        // Random checkpoints are the same in every folder.
        #expect(models.map { $0["kept"] as? Double } == [1, 1])
        let table = try await setting.run(["--original", setting.model.directory.path])
        #expect(table.output.contains("Kept") && table.output.contains("100.0 %"))
    }

    @Test("The page has every model's figures with their errors, and what is kept; one that exists is kept itself")
    func page() async throws {
        let setting = try Setting()
        let other = try ChatModel(template: nil)
        let file = setting.data.appending(path: "page.html")
        let arguments = ["--original", other.directory.path, "--json", "--html", file.path]
        let outcome = try await setting.run(arguments)
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        let page = try String(contentsOf: file, encoding: .utf8)
        #expect(try checkReportPage(page) as NSDictionary == object(outcome.output) as NSDictionary)
        #expect(page.contains("Kept of what \(other.directory.lastPathComponent) has, %") && page.contains("100.0"))
        let report = try object(outcome.output)
        let models = try #require(report["models"] as? [[String: Any]])
        let task = try #require((models[0]["tasks"] as? [[String: Any]])?.first)
        let figure = try #require((task["metrics"] as? [String: [String: Double]])?["acc_norm"])
        let text = String(format: "%.2f\u{A0}±\u{A0}%.2f", 100 * figure["value"]!, 100 * figure["standard_error"]!)
        #expect(page.contains("<td>PIQA (acc_norm)</td><td>\(text)</td>"))
        let again = try await setting.run(arguments)
        #expect(again.exitCode == 1 && again.errors.contains("--overwrite"))
        let one = try await setting.run(["--html", file.path, "--items", file.path, "--overwrite"])
        #expect(one.exitCode == 64)
    }

    @Test("--context has items longer than it cut, and can be no longer than the model's")
    func context() async throws {
        let setting = try Setting()
        let report = try object(try await setting.run(["--context", "4", "--json"]).output)
        #expect((report["definition"] as? String)?.contains("at most 4 tokens") == true)
        let task = try #require(((report["models"] as? [[String: Any]])?.first?["tasks"] as? [[String: Any]])?.first)
        #expect(task["truncated"] as? Int == 5)
        let long = try await setting.run(["--context", "1000000000"])
        #expect(long.exitCode == 64 && long.errors.contains("--context must be at most"))
    }

    @Test("Perplexity of WikiText comes in front of the tasks")
    func perplexity() async throws {
        let setting = try Setting()
        try setting.write("wiki.raw", Array(repeating: " = A heading of some words = ", count: 200))
        let outcome = try await setting.run(["--wikitext", setting.path("wiki.raw")])
        #expect(outcome.output.hasPrefix("| Model"))
        let titles = try #require(outcome.output.split(separator: "\n").first)
        #expect(titles.contains(/Wiki2 .* PIQA/))
        #expect(outcome.output.contains("perplexity per token"))
    }

    @Test("A malformed item is named and ends the run; or is left out and counted")
    func malformed() async throws {
        let setting = try Setting()
        try setting.write("piqa.jsonl", [Setting.piqa(0), #"{"goal": "g", "sol1": "a", "label": 0}"#, Setting.piqa(1)])
        let stopped = try await setting.run()
        #expect(stopped.exitCode == 1 && stopped.output.isEmpty)
        #expect(stopped.errors.contains("\(setting.path("piqa.jsonl")), line 2, key \"sol2\""))
        #expect(stopped.errors.contains("--skip-malformed"))
        let skipped = try object(try await setting.run(["--skip-malformed", "--json"]).output)
        let task = try #require(((skipped["models"] as? [[String: Any]])?[0]["tasks"] as? [[String: Any]])?[0])
        #expect(task["items"] as? Int == 2 && task["malformed"] as? Int == 1)
    }

    @Test("Wrong usage, tasks that are not there and data that are not there are refused by name")
    func refusals() async throws {
        let setting = try Setting()
        let model = setting.model.directory.path
        for arguments in [
            [model], [model, "--data", "x", "--limit", "0"], [model, "--data", "x", "--mmlu-shots", "6"],
            [model, "--data", "x", "--tasks", "piqa,piqa"],
        ] {
            #expect(try await BuiltCommand.run(["evaluate"] + arguments).exitCode == 64, "\(arguments)")
        }
        let unknown = try await setting.run(["--tasks", "pica"])
        #expect(unknown.exitCode == 1 && unknown.errors.contains("\"pica\"") && unknown.errors.contains("hellaswag"))
        let missing = try await setting.run(["--tasks", "boolq"])
        #expect(missing.exitCode == 1 && missing.errors.contains("Looked for boolq.jsonl"))
        try setting.write("items.jsonl", ["mine"])
        let standing = try await setting.run(["--items", setting.path("items.jsonl")])
        #expect(standing.exitCode == 1 && standing.errors.contains("--overwrite"))
    }

    @Test("A run goes on from the journal that a killed one left, torn line and all, to the same result")
    func resumption() async throws {
        let setting = try Setting(count: 40)
        let folder = setting.data.appending(path: "journal")
        let whole = try await setting.run(["--journal", folder.path])
        #expect(whole.exitCode == 0)
        let journal = try #require(
            FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil).first)
        // Half of the items, and the beginning of the next.
        let complete = try Data(contentsOf: journal)
        let torn = complete.prefix(complete.count / 2)
        try torn.write(to: journal)
        let resumed = try await setting.run(["--journal", folder.path])
        #expect(resumed.exitCode == 0)
        #expect(resumed.output == whole.output)
        let lines = { (data: Data) in data.split(separator: UInt8(ascii: "\n")).map { Data($0) } }
        #expect(try Set(lines(Data(contentsOf: journal))) == Set(lines(complete)))
        // What was kept was not computed anew: a sum that is changed in the journal shows in the items.
        let items = setting.data.appending(path: "items.jsonl")
        let text = String(decoding: complete, as: UTF8.self)
        let changed = text.replacing(
            #/"log_likelihoods": ?\[[^,\]]+/#, with: "\"log_likelihoods\":[-123456.5", maxReplacements: 1)
        try Data(changed.utf8).write(to: journal)
        #expect(try await setting.run(["--journal", folder.path, "--items", items.path]).exitCode == 0)
        #expect(try String(contentsOf: items, encoding: .utf8).contains("-123456.5"))
    }
}
