import Foundation
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

    @Test("A text is the same on one thread and on two")
    func threads() async throws {
        let call = ["generate", tinyTeacher.path, "--prompt", "Once upon a time", "--max-tokens", "40", "--seed", "3"]
        let one = try await BuiltCommand.run(call + ["--threads", "1"])
        let two = try await BuiltCommand.run(call + ["--threads", "2"])
        #expect(one.exitCode == 0 && one.output == two.output)
    }
}
