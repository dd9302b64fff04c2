import Foundation
import TestSupport
import Testing

@Suite("onebit chat")
struct ChatCommandTests {
    @Test("From a pipe: a question a line, answers on standard output, no prompts")
    func pipe() async throws {
        let model = try ChatModel()
        let outcome = try await BuiltCommand.shell(
            """
            printf 'Who?\\n\\n/clear\\nWhat?' | onebit chat '\(model.directory.path)' --max-tokens 5 --greedy --json \
            --threads 1
            """)
        #expect(outcome.exitCode == 0)
        let answers = try outcome.output.split(separator: "\n").map {
            try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(answers.map { $0["question"] as? String } == ["Who?", "What?"])
        #expect(answers.allSatisfy { $0["stop_reason"] as? String == "length" })
        #expect(answers.allSatisfy { ($0["tokens"] as? [Int])?.count == 5 })
        #expect(answers.allSatisfy { $0["tokens_per_second"] is Double && $0["answer"] is String })
        #expect(!outcome.errors.contains(">"))
        #expect(outcome.errors.contains("ended by length"))
    }

    @Test("The text alone, the same for the same seed, and nothing else with --quiet")
    func text() async throws {
        let model = try ChatModel()
        func run(_ options: String) async throws -> BuiltCommand.Outcome {
            try await BuiltCommand.shell(
                "echo Who? | onebit chat '\(model.directory.path)' -n 20 --quiet --threads 1 --system Kind \(options)")
        }
        let first = try await run("--seed 4")
        #expect(first.exitCode == 0)
        #expect(first.output.hasSuffix("\n") && first.output.count > 1)
        #expect(try await run("--seed 4").output == first.output)
        #expect(try await run("--seed 5").output != first.output)
    }

    @Test("A model without a template, or with one that is no Jinja, is refused and told what to do")
    func refusals() async throws {
        for (template, reason) in [
            (nil, "no chat template"), ("\n{{ messages", "chat_template.jinja:2:12: unexpected end of template"),
        ] {
            let model = try ChatModel(template: template)
            let outcome = try await BuiltCommand.run(["chat", model.directory.path, "--threads", "1"])
            #expect(outcome.exitCode == 1)
            #expect(outcome.output.isEmpty)
            #expect(outcome.errors.contains(reason) && outcome.errors.contains("`onebit generate` works without one"))
        }
        let model = try ChatModel()
        let full = try await BuiltCommand.shell(
            "echo Who? | onebit chat '\(model.directory.path)' --context 20 --threads 1")
        #expect(full.exitCode == 1)
        #expect(full.errors.contains("no room for an answer in its context of 20"))
        #expect(try await BuiltCommand.run(["chat", "x", "--context", "0"]).exitCode == 64)
    }

    @Test("Tools, documents and variables reach the model's template; what has a meaning already is refused")
    func templateArguments() async throws {
        let model = try ChatModel(
            template: ChatModel.chatML
                + "{{ (tools or [{}])[0].name }}{{ (documents or [{}])[0].title }}{{ 'no ' if not enable_thinking }}"
        )
        let folder = try TemporaryDirectory()
        let list = try folder.write(#"[{"name": "add", "title": "Sums"}]"#, as: "list.json")
        func run(_ options: String) async throws -> BuiltCommand.Outcome {
            try await BuiltCommand.shell(
                "echo Who? | onebit chat '\(model.directory.path)' -n 1 --json --quiet --threads 1 \(options)")
        }
        func promptTokens(_ options: String) async throws -> Int {
            let outcome = try await run(options)
            #expect(outcome.exitCode == 0, "\(outcome.errors)")
            let output = outcome.output
            let answer = try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any]
            return try #require(answer?["prompt_tokens"] as? Int)
        }
        // A token is a byte: "no " less, "add" and "Sums" more.
        let plain = try await promptTokens("")
        #expect(try await promptTokens(#"--template-arguments '{"enable_thinking": true}'"#) == plain - 3)
        #expect(try await promptTokens("--tools '\(list.path)' --documents '\(list.path)'") == plain + 7)
        for (options, reason) in [
            (#"--template-arguments '{"messages": []}'"#, "\"messages\" cannot be given to a chat template"),
            ("--template-arguments '[1]'", "--template-arguments: expected an object"),
            ("--tools /nowhere.json", "/nowhere.json"),
        ] {
            let outcome = try await run(options)
            #expect(outcome.exitCode == 1 && outcome.errors.contains(reason), "\(outcome.errors)")
        }
    }

    /// Without an end within the test's time.
    private static let long = ["--max-tokens", "1000000", "--context", "100000", "--threads", "1"]

    @Test("On a terminal Ctrl-C stops the answer, and at the prompt ends the chat with 130")
    func interruption() async throws {
        let model = try ChatModel()
        let terminal = try Terminal()
        let outcome = try await BuiltCommand.converse(
            ["chat", model.directory.path] + Self.long, standardInput: terminal.input
        ) { chat in
            try await chat.wait { chat.errors.hasSuffix("> ") }
            #expect(chat.errors.contains(", 100000 tokens of context"))
            for round in 1...2 {
                let before = chat.output.utf8.count
                try terminal.type("Who?\n")
                try await chat.wait { chat.output.utf8.count > before + 5 }
                kill(chat.process.processIdentifier, SIGINT)
                try await chat.wait { chat.errors.components(separatedBy: "stopped\n> ").count == round + 1 }
            }
            try terminal.type("/quit\n")
            try await chat.wait { chat.errors.hasSuffix("lists what there is.\n> ") }
            kill(chat.process.processIdentifier, SIGINT)
        }
        #expect(outcome.exitCode == 130 && !outcome.wasKilled)
        #expect(outcome.errors.hasSuffix("interrupted\n"))
    }

    @Test("A context that is full is told on a terminal, and the chat goes on; Ctrl-D ends it")
    func fullContext() async throws {
        let model = try ChatModel()
        let terminal = try Terminal()
        let outcome = try await BuiltCommand.converse(
            ["chat", model.directory.path, "--context", "130", "--threads", "1", "--max-tokens", "8"],
            standardInput: terminal.input
        ) { chat in
            try await chat.wait { chat.errors.hasSuffix("> ") }
            try terminal.type(String(repeating: "long ", count: 30) + "\n")
            try await chat.wait { chat.errors.hasSuffix("/clear starts over.\n> ") }
            try terminal.type("Hm\n")
            try await chat.wait { chat.errors.hasSuffix("ended by length\n> ") }
            try terminal.type("\u{04}")
        }
        #expect(outcome.exitCode == 0)
        #expect(outcome.output.count > 1)
    }

    @Test("Without a terminal Ctrl-C ends the chat")
    func interruptedPipe() async throws {
        let model = try ChatModel()
        let pipe = Pipe()
        try pipe.fileHandleForWriting.write(contentsOf: Data("Who?\nWhat?\n".utf8))
        let outcome = try await BuiltCommand.converse(
            ["chat", model.directory.path] + Self.long, standardInput: pipe.fileHandleForReading
        ) { chat in
            try await chat.wait { chat.output.utf8.count > 5 }
            kill(chat.process.processIdentifier, SIGINT)
        }
        #expect(outcome.exitCode == 130 && !outcome.wasKilled)
        #expect(outcome.errors.hasSuffix("interrupted\n"))
    }
}

@Suite("onebit generate")
struct GenerateCommandTests {
    @Test("The prompt comes from --prompt, from --file or from standard input, and is the same")
    func prompts() async throws {
        let model = try ChatModel(template: nil)
        let path = model.directory.path
        let file = model.directory.appending(path: "prompt.txt")
        try Data("a story\n".utf8).write(to: file)
        let options = "--max-tokens 6 --json --greedy --threads 1"
        let calls = [
            "onebit generate '\(path)' --prompt 'a story' \(options)",
            "onebit generate '\(path)' --file '\(file.path)' \(options)",
            "echo a story | onebit generate '\(path)' \(options)",
        ]
        var texts: [String] = []
        for call in calls {
            let outcome = try await BuiltCommand.shell(call)
            #expect(outcome.exitCode == 0)
            let report = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
            #expect(report?["prompt"] as? String == "a story")
            texts.append(try #require(report?["text"] as? String))
        }
        #expect(Set(texts).count == 1)
        let both = try await BuiltCommand.run(["generate", path, "--prompt", "a", "--file", file.path])
        #expect(both.exitCode == 64)
        let missing = try await BuiltCommand.run(["generate", path, "--file", "/nowhere/prompt"])
        #expect(missing.exitCode == 1 && missing.errors.hasPrefix("error: /nowhere/prompt: "))
    }

    @Test("The last line end of a prompt file is not part of the prompt, be it LF or CRLF")
    func lineEnds() async throws {
        let model = try ChatModel(template: nil)
        let options = "--max-tokens 1 --json --greedy --threads 1"
        for (content, prompt) in [
            ("a story\r\n", "a story"), ("a\r\nstory\n", "a\r\nstory"), ("a story\n\n", "a story\n"),
            ("a story\r\n\r\n", "a story\r\n"), ("a story", "a story"),
        ] {
            let file = model.directory.appending(path: "prompt.txt")
            try Data(content.utf8).write(to: file)
            for source in ["--file '\(file.path)'", "< '\(file.path)'"] {
                let outcome = try await BuiltCommand.shell(
                    "onebit generate '\(model.directory.path)' \(options) \(source)")
                let report = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
                #expect(report?["prompt"] as? String == prompt, "\(content.debugDescription) \(source)")
            }
        }
    }

    @Test("Text that is not UTF-8 is refused, naming where: a prompt's file, standard input, a question, an argument")
    func notUTF8() async throws {
        let model = try ChatModel()
        let path = model.directory.path
        let file = model.directory.appending(path: "prompt.txt")
        try Data("caf\u{E9}".unicodeScalars.map { UInt8($0.value) }).write(to: file)
        for (call, source) in [
            ("onebit generate '\(path)' --file '\(file.path)'", "\(file.path), line 1"),
            ("onebit generate '\(path)' --file <(printf 'a\\n\\n'; cat '\(file.path)')", "/dev/fd/63, line 3"),
            ("onebit generate '\(path)' < '\(file.path)'", "standard input, line 1"),
            ("(echo 'Who?'; cat '\(file.path)') | onebit chat '\(path)' -n 1", "standard input, line 2"),
        ] {
            let outcome = try await BuiltCommand.shell(call + " --threads 1")
            #expect(outcome.exitCode == 1)
            #expect(outcome.errors.contains("error: \(source): not UTF-8 text"), "\(outcome.errors)")
        }
        let argument = try await BuiltCommand.shell("onebit generate '\(path)' --prompt \"$(cat '\(file.path)')\"")
        #expect(argument.exitCode == 64 && argument.errors.contains("argument 4 is not UTF-8 text"))
    }
}
