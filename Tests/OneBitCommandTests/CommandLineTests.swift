import ArgumentParser
import Foundation
import ModelDescription
import TestSupport
import Testing

@testable import onebit

/// Names of the subcommands that this build has: without libtorch there are fewer.
private let subcommands = OneBitCommand.configuration.subcommands.compactMap { $0.configuration.commandName }

@Suite("The built command line")
struct CommandLineTests {
    @Test("--help works and names every subcommand")
    func help() async throws {
        let outcome = try await BuiltCommand.run(["--help"])
        #expect(outcome.exitCode == 0)
        #expect(outcome.errors.isEmpty)
        for name in subcommands { #expect(outcome.output.contains("  \(name) ")) }
    }

    @Test("Every subcommand has help with an abstract and examples", arguments: subcommands)
    func subcommandHelp(name: String) async throws {
        let outcome = try await BuiltCommand.run([name, "--help"])
        #expect(outcome.exitCode == 0)
        #expect(outcome.output.hasPrefix("OVERVIEW: "))
        #expect(outcome.output.contains("onebit \(name) "))
        #expect(outcome.output.contains("EXAMPLES"))
    }

    @Test("The version is printed alone")
    func version() async throws {
        let outcome = try await BuiltCommand.run(["--version"])
        #expect(outcome.exitCode == 0)
        #expect(outcome.output == OneBitVersion.current + "\n")
    }

    @Test(
        "Wrong usage exits with 64 and says what is wrong",
        arguments: [["nonsense"], ["--nonsense"]] + subcommands.map { [$0, "--nonsense"] }
    )
    func wrongUsage(arguments: [String]) async throws {
        let outcome = try await BuiltCommand.run(arguments)
        #expect(outcome.exitCode == 64)
        #expect(outcome.output.isEmpty)
        #expect(outcome.errors.hasPrefix("error: "))
    }

    private static let distill = ["distill", "m", "--start", "s", "--corpus", "c", "--output", "o"]
    /// The last argument is the one that is out of range.
    private static let callsOutOfRange = [
        ["generate", "m", "--top-p=2"], ["generate", "m", "--temperature=-1"], ["generate", "m", "--min-p=nan"],
        ["perplexity", "m", "--text", "t", "--window=0"], ["perplexity", "m", "--text", "t", "--limit-windows=0"],
        ["synthesize", "m", "--output", "o", "--synthesis-batch=0"],
        ["init", "m", "--output", "o", "--calibration-correction=3"],
        distill + ["--beta1=2"], distill + ["--kl-weight=-3"], distill + ["--learning-rate=nan"],
        distill + ["--gradient-clip=0"], distill + ["--weight-decay=inf"],
    ].filter { subcommands.contains($0[0]) }

    @Test(
        "A value out of an option's range is wrong usage, and the option is named as it is typed",
        arguments: callsOutOfRange)
    func outOfRange(call: [String]) async throws {
        let outcome = try await BuiltCommand.run(call)
        #expect(outcome.exitCode == 64 && outcome.output.isEmpty)
        let option = try #require(call.last?.split(separator: "=").first)
        #expect(outcome.errors.hasPrefix("error: \(option) must be "), "\(outcome.errors)")
    }

    /// A call of each subcommand that reads a model, with a directory that is not there; OUT stands for a free path.
    private static let callsWithoutModel = [
        ["compress", "/nowhere/model", "--output", "OUT"],
        ["init", "/nowhere/model", "--output", "OUT"],
        ["synthesize", "/nowhere/model", "--output", "OUT"],
        ["distill", "/nowhere/model", "--start", "/nowhere/start", "--corpus", "/nowhere/corpus", "--output", "OUT"],
        ["pack", "/nowhere/model", "--output", "OUT"],
        ["inspect", "/nowhere/model"],
        ["evaluate", "/nowhere/model", "--data", "/nowhere/data"],
        ["generate", "/nowhere/model"],
        ["chat", "/nowhere/model"],
    ].filter { subcommands.contains($0[0]) }

    @Test(
        "A model directory that is not there: exit 1, one line that names it, nothing written",
        arguments: callsWithoutModel
    )
    func missingModel(call: [String]) async throws {
        let folder = try TemporaryDirectory()
        let output = folder.file("output").path
        let outcome = try await BuiltCommand.run(call.map { $0 == "OUT" ? output : $0 })
        #expect(outcome.exitCode == 1)
        #expect(outcome.output.isEmpty)
        #expect(outcome.errors.hasPrefix("error: "))
        #expect(outcome.errors.contains("/nowhere/model"))
        #expect(outcome.errors.count { $0.isNewline } == 1)
        #expect(try folder.entries.isEmpty)
    }

    @Test("An unknown key of config.json is refused by name; --allow-unknown-keys goes on, with a warning")
    func unknownKeys() async throws {
        let model = try ChatModel(template: nil)
        let file = model.directory.appending(path: "config.json")
        var keys = try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
        keys["mystery_setting"] = 3
        try JSONSerialization.data(withJSONObject: keys).write(to: file)
        let path = model.directory.path
        let folder = try TemporaryDirectory()
        for call in [
            ["inspect", path], ["generate", path, "-n", "1", "--prompt", "a"],
            ["pack", path, "--output", folder.file("packed").path], ["logits", path, "--tokens", "1"],
            ["bench", path, "--pp", "1", "--tg", "1", "-r", "1"],
        ] {
            let refused = try await BuiltCommand.run(call)
            #expect(refused.exitCode == 1 && refused.output.isEmpty, "\(call[0])")
            #expect(
                refused.errors.contains("\"mystery_setting\"")
                    && refused.errors.contains("--allow-unknown-keys goes on"))
            let allowed = try await BuiltCommand.run(call + ["--allow-unknown-keys"])
            #expect(allowed.exitCode == 0, "\(call[0]): \(allowed.errors)")
            #expect(
                allowed.errors.components(separatedBy: "warning: ").count == 2 && allowed.errors.contains("mystery"))
        }
    }

    @Test("A reader that closes standard output early ends the command quietly")
    func closedPipe() async throws {
        let outcome = try await BuiltCommand.shell("for n in 1 2 3; do onebit --help | head -n 1; done")
        #expect(outcome.exitCode == 0)
        #expect(outcome.errors.isEmpty)
    }

    @Test("Standard streams that are closed from the start do no harm")
    func closedStreams() async throws {
        let outcome = try await BuiltCommand.shell("onebit --help <&- >&- 2>&-")
        #expect(outcome.exitCode == 0)
    }

    @Test(
        "Ctrl-C ends a training run with 130, leaves no output and keeps its checkpoint for --resume",
        .enabled(if: subcommands.contains("pretrain"), "this build has no training")
    )
    func interruptedTraining() async throws {
        let folder = try TemporaryDirectory()
        let words = ["the", "cat", "sat", "on", "a", "mat", "and", "slept"]
        let story = (0..<4000).map { words[($0 * $0 + $0 / 7) % words.count] }.joined(separator: " ")
        let text = try folder.write(story, as: "text.txt")
        let output = folder.file("model")
        let checkpoints = folder.file("model.training")
        let outcome = try await BuiltCommand.interrupt([
            "pretrain", text.path, "--output", output.path, "--vocabulary-size", "270", "--hidden-size", "16",
            "--layers", "1", "--heads", "2", "--context", "16", "--batch-size", "2", "--steps", "100000000",
            "--checkpoint-every", "5",
        ]) {
            (try? FileManager.default.contentsOfDirectory(atPath: checkpoints.path))?.contains { $0.hasPrefix("step-") }
                == true
        }
        #expect(outcome.exitCode == 130)
        #expect(!outcome.wasKilled)
        #expect(outcome.errors.hasSuffix("interrupted\n"))
        #expect(try folder.entries == ["model.training", "text.txt"])
    }
}
