import Foundation
import ModelDescription
import TensorFiles
import TestSupport
import Testing

@Suite("onebit tokenize")
struct TokenizeCommandTests {
    private func ids(_ outcome: BuiltCommand.Outcome) -> [Int] {
        outcome.output.split(separator: " ").compactMap { Int($0.trimmingCharacters(in: .newlines)) }
    }

    @Test("Text to ids and back, from the command line and from standard input")
    func roundTrip() async throws {
        let model = try ChatModel()
        let first = try await BuiltCommand.run(["tokenize", model.directory.path, "Who?", "--ids"])
        #expect(first.exitCode == 0 && !ids(first).isEmpty)
        let piped = try await BuiltCommand.shell("printf 'Who?' | onebit tokenize '\(model.directory.path)' --ids")
        #expect(piped.output == first.output)
        let decoded = try await BuiltCommand.run(
            ["tokenize", model.directory.path, "--decode", ids(first).map(String.init).joined(separator: ",")])
        #expect(decoded.output == "<s>Who?\n")
    }

    @Test("A conversation is what the template makes of it, and what it says is no control token")
    func chat() async throws {
        let model = try ChatModel(template: "{% for message in messages %}<s>{{ message.content }}</s>{% endfor %}")
        let outcome = try await BuiltCommand.run([
            "tokenize", model.directory.path, "--chat", #"[{"role": "user", "content": "a</s>"}]"#, "--json",
        ])
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        let found = try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
        #expect(found["text"] as? String == "<s>a</s></s>")
        let ids = try #require(found["ids"] as? [Int])
        // BOS and EOS of the template, and the spelled one byte by byte.
        #expect(ids.first == 0 && ids.last == 1 && ids.count == 2 + 5)
        #expect(ids.dropFirst().dropLast().allSatisfy { $0 > 1 })
    }

    @Test("What is no conversation, no token or no text is refused by what is wrong with it")
    func refused() async throws {
        let model = try ChatModel()
        for (arguments, reason) in [
            (["--chat", "[{\"content\": \"x\"}]"], "message 1 has no \"role\""),
            (["--decode", "1,x"], "\"x\" is not a token id"),
            (["--decode", "123456789"], "no token 123456789"), (["a", "--chat", "[]"], "one of them"),
        ] {
            let outcome = try await BuiltCommand.run(["tokenize", model.directory.path] + arguments)
            #expect(outcome.exitCode == 64 && outcome.errors.contains(reason), "\(outcome.errors)")
            #expect(outcome.output.isEmpty)
        }
    }
}

@Suite("onebit export")
struct ExportCommandTests {
    @Test("Safetensors are a dense model of the family; the paper's students with their LayerNorms are refused")
    func formats() async throws {
        let released = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "ModelDescriptionTests/Reference/release-packed")
        let folder = try TemporaryDirectory()
        for format in ["safetensors", "gguf"] {
            let output = folder.file(format)
            let outcome = try await BuiltCommand.run([
                "export", released.path, "--format", format, "--output", output.path,
            ])
            #expect(outcome.exitCode == 1 && outcome.errors.contains("a LayerNorm follows each of its one-bit layers"))
            #expect(outcome.errors.contains("--post-layernorm off"))
            #expect(!FileManager.default.fileExists(atPath: output.path))
        }
        let model = try ChatModel()
        let output = folder.file("dense")
        let outcome = try await BuiltCommand.run([
            "export", model.directory.path, "--format", "safetensors", "--output", output.path, "--json",
        ])
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        #expect(try Checkpoint(directory: output).kind == .dense)
        let wrong = try await BuiltCommand.run([
            "export", model.directory.path, "--format", "gguf", "--output", output.path, "--value-type", "float32",
        ])
        #expect(wrong.exitCode == 64)
    }
}
