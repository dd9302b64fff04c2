import Foundation
import TestSupport
import Testing

/// A dense model that the repository has.
let tinyTeacher = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Examples/TinyTeacher/model")

/// Teachers are run by every command without libtorch.
@Suite("Dense models")
struct DenseModelCommandTests {
    @Test("generate, logits, perplexity and compare run a teacher on the CPU")
    func commands() async throws {
        let text = tinyTeacher.deletingLastPathComponent().appending(path: "held-out.jsonl").path
        let windows = ["--text", text, "--window", "64", "--limit-windows", "2"]
        for call in [
            ["generate", tinyTeacher.path, "--prompt", "Once upon a time", "--max-tokens", "4", "--greedy"],
            ["logits", tinyTeacher.path, "--tokens", "1,2,3"],
            ["perplexity", tinyTeacher.path] + windows,
            ["compare", tinyTeacher.path, tinyTeacher.path] + windows,
        ] {
            let outcome = try await BuiltCommand.run(call + ["--threads", "1"])
            #expect(outcome.exitCode == 0 && !outcome.output.isEmpty, "\(call[0]): \(outcome.errors)")
        }
    }

    @Test("compare writes a page with plots, whole and with the figures that it prints; one that exists is kept")
    func comparisonPage() async throws {
        let folder = try TemporaryDirectory()
        let text = try folder.write(
            String(repeating: "Once upon a time there was a <b>little</b> girl. ", count: 30), as: "<text>.txt")
        let call = [
            "compare", tinyTeacher.path, tinyTeacher.path, "--student-input-bits", "10", "--text", text.path,
            "--window", "32", "--limit-windows", "3", "--threads", "1", "--json", "--html",
            folder.file("page.html").path,
        ]
        let outcome = try await BuiltCommand.run(call)
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        let page = try String(contentsOf: folder.file("page.html"), encoding: .utf8)
        let numbers = try checkReportPage(page)
        let report = try #require(numbers["report"] as? NSDictionary)
        #expect(report == (try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? NSDictionary))
        #expect((numbers["windows"] as? [[Any]])?.map(\.count) == [3])
        for caption in [
            "KL divergence of each window", "KL divergence of single tokens", "Likeliest tokens",
            "Perplexity per token",
        ] {
            #expect(page.contains(caption), "\(caption)")
        }
        let again = try await BuiltCommand.run(call)
        #expect(again.exitCode == 1 && again.output.isEmpty && again.errors.contains("--overwrite"))
        #expect(try await BuiltCommand.run(call + ["--overwrite"]).exitCode == 0)
        #expect(try folder.entries == ["<text>.txt", "page.html"])
        // Found out before the models are run, not behind it.
        for place in [folder.path, folder.path + "/nowhere/page.html"] {
            let outcome = try await BuiltCommand.run(call + ["--html", place, "--overwrite"])
            #expect(outcome.exitCode == 1 && outcome.output.isEmpty && outcome.errors.contains(place), "\(place)")
        }
    }

    @Test("A text is the same on one thread and on two")
    func threads() async throws {
        let call = ["generate", tinyTeacher.path, "--prompt", "Once upon a time", "--max-tokens", "40", "--seed", "3"]
        let one = try await BuiltCommand.run(call + ["--threads", "1"])
        let two = try await BuiltCommand.run(call + ["--threads", "2"])
        #expect(one.exitCode == 0 && one.output == two.output)
    }
}
