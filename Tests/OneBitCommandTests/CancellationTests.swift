import Foundation
import ModelDescription
import OneBitRuntime
import TestSupport
import Testing
import Tokenization

@Suite("Ctrl-C in the stages of a run")
struct CancellationTests {
    /// A packed model of a hundred million random weights and texts for it: each stage takes minutes in a debug build.
    private struct LargeModel {
        let folder: TemporaryDirectory
        var path: String { folder.path }

        init() throws {
            folder = try TemporaryDirectory()
            try folder.write(BytePairTrainer.train(texts: ["a story"], vocabularySize: 260), as: "tokenizer.json")
            let configuration = try ModelConfiguration(
                vocabularySize: 4096, hiddenSize: 1024, intermediateSize: 2816, layerCount: 8, attentionHeadCount: 16,
                maximumPositions: 4096, tiedEmbeddings: true, endOfSequence: [])
            try RandomCheckpoint.write(configuration, to: folder.url)
            try folder.write(String(repeating: "a story ", count: 400), as: "long.txt")
            let item =
                #"{"goal": "count", "sol1": "slowly", "sol2": "\#(String(repeating: "at once ", count: 200))", "label": 0}"#
            try folder.write(String(repeating: item + "\n", count: 200), as: "piqa.jsonl")
        }
    }

    @Test("Each ends with 130 and leaves nothing behind, also during a long prompt")
    func stages() async throws {
        let model = try LargeModel()
        let path = model.path
        let text = model.folder.file("long.txt").path
        let output = model.folder.file("output").path
        let stages: [(name: String, call: [String])] = [
            // The first load writes the signs in the kernels' order.
            ("load", ["generate", path, "--prompt", "a", "--max-tokens", "4000"]),
            ("long prompt", ["generate", path, "--file", text, "--max-tokens", "1"]),
            ("perplexity", ["perplexity", path, "--text", text, "--window", "1024"]),
            ("compare", ["compare", path, path, "--text", text, "--window", "1024"]),
            ("evaluate", ["evaluate", path, "--data", path, "--tasks", "piqa", "--items", output]),
            (
                "logits",
                ["logits", path, "--tokens", repeatElement("1", count: 4000).joined(separator: ","), "-o", output]
            ),
            ("bench", ["bench", path, "--pp", "4096", "--tg", "0"]),
            ("bench --shape", ["bench", "--shape", "llama-7b", "--keep", output]),
        ]
        let before = try model.folder.entries
        for (name, call) in stages {
            let outcome = try await BuiltCommand.converse(call + ["--threads", "1"]) { command in
                if name == "load" {
                    try await command.wait { command.errors.contains("Laying out") }
                } else {
                    try await command.waitUntilInterruptible()
                    try await Task.sleep(for: .seconds(1))
                }
                kill(command.process.processIdentifier, SIGINT)
            }
            #expect(outcome.exitCode == 130 && !outcome.wasKilled, "\(name): \(outcome.errors)")
            #expect(outcome.errors.hasSuffix("interrupted\n"), "\(name)")
            // Where only the load is to be caught, the text may have begun when the signal comes.
            if name != "load" { #expect(outcome.output.isEmpty, "\(name)") }
            #expect(try model.folder.entries.filter { $0 != ".onebit" } == before, "\(name)")
        }
    }
}
