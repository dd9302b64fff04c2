import Foundation
import Testing

/// The training commands as a user runs them, on a teacher made in a second from a few lines of text.
@Suite("From a teacher to a packed model", .serialized)
struct CompressionTests {
    private let folder: URL

    init() async throws { folder = try await Teacher.shared.workFolder() }

    private func path(_ name: String) -> String { folder.appending(path: name).path }

    private func contents(_ name: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path(name))) ?? []).sorted()
    }

    private func run(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let outcome = try await BuiltCommand.run(arguments)
        #expect(outcome.exitCode == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
    }

    private func distillation(to output: String) -> [String] {
        [
            "distill", path("teacher"), "--start", path("start"), "--corpus", path("text.jsonl"), "--output",
            path(output),
            "--steps", "30", "--batch-size", "2", "--sequence-length", "16", "--checkpoint-every", "3", "--threads",
            "1",
        ]
    }

    @Test("compress makes one directory: packed model, tokenizer, card, report; and leaves no work behind")
    func compress() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let outcome = try await BuiltCommand.run([
            "compress", path("teacher"), "--output", path("packed"), "--samples", "24", "--max-length", "40", "--steps",
            "12", "--batch-size", "2", "--sequence-length", "16", "--json",
        ])
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        let names = ["teacher", "start", "packed"]
        for name in names { #expect(outcome.output.contains("\"name\" : \"\(name)\"")) }
        #expect(
            Set(contents("packed")).isSuperset(of: [
                "README.md", "compression_report.json", "config.json", "model.safetensors", "tokenizer.json",
            ]))
        #expect(!contents(".").contains { $0.contains("packed.") || $0.hasPrefix(".packed") })
        try expectQuality(in: outcome.output)
        try await run(["generate", path("packed"), "--prompt", "the", "--max-tokens", "4"])
        try await run(["inspect", path("packed")])
        let again = try await BuiltCommand.run(["compress", path("teacher"), "--output", path("packed")])
        #expect(again.exitCode == 1)
        #expect(again.errors.contains("packed"))
    }

    /// What was measured and what it was made with stand in the output, in the report and in the card.
    private func expectQuality(in output: String) throws {
        let written = try String(contentsOf: folder.appending(path: "packed/compression_report.json"), encoding: .utf8)
        #expect(written == output)
        let report = try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        let comparison = try #require(report["comparison"] as? [String: Any])
        let models = try #require(report["models"] as? [[String: Any]])
        let divergence = try #require((comparison["kl_divergence"] as? [String: Any])?["value"] as? Double)
        #expect(divergence > 0)
        for (model, key) in [(models[0], "teacher_perplexity"), (models[2], "student_perplexity")] {
            #expect(model["perplexity"] as? Double == (comparison[key] as? [String: Any])?["value"] as? Double)
        }
        let recipe = try #require(report["recipe"] as? [String: Any])
        let configuration = try #require(recipe["configuration"] as? [String: Any])
        #expect(recipe["steps"] as? Int == 12 && configuration["seed"] as? Int == 0)

        let card = try String(contentsOf: folder.appending(path: "packed/README.md"), encoding: .utf8)
        for line in [
            "base_model: teacher", "pipeline_tag: text-generation", "    - type: kl_divergence",
            "      value: \("\(divergence)".prefix(12))", "| KL divergence, mean ", "| top-1 agreement, % ",
            "| warm-up steps ",
            "onebit compress \(path("teacher")) --output \(path("packed")) --samples 24",
        ] {
            #expect(card.contains(line), "\(line)")
        }
    }

    @Test("compress --eval-data puts the tasks of teacher and packed model into card and report")
    func compressWithTasks() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let compression = [
            "compress", path("teacher"), "--output", path("packed"), "--corpus", path("text.jsonl"), "--steps", "2",
            "--batch-size", "2", "--sequence-length", "16", "--eval-data", folder.path,
        ]
        // Before anything is computed: hours of training must not end in this.
        let missing = try await BuiltCommand.run(compression)
        #expect(missing.exitCode == 1)
        #expect(missing.errors.contains("winogrande.jsonl"))
        #expect(contents(".") == ["teacher", "text.jsonl"])

        let arc = #"{"question":"who ran","choices":{"text":["fox","cat"],"label":["A","B"]},"answerKey":"B"}"#
        for (file, item) in [
            (
                "winogrande",
                #"{"sentence":"the fox saw the cat and _ ran","option1":"fox","option2":"cat","answer":"1"}"#
            ),
            (
                "hellaswag",
                #"{"ind":1,"activity_label":"a","ctx_a":"the fox","ctx_b":"saw","ctx":"the fox saw","#
                    + #""endings":["a","b","c","d"],"label":"2"}"#
            ),
            ("piqa", #"{"goal":"run home","sol1":"run","sol2":"sleep","label":0}"#),
            ("boolq", #"{"passage":"the fox ran","question":"did the fox run","label":1}"#),
            ("arc_easy", arc), ("arc_challenge", arc),
        ] {
            try Data((item + "\n").utf8).write(to: folder.appending(path: "\(file).jsonl"))
        }
        try await run(compression)
        let card = try String(contentsOf: folder.appending(path: "packed/README.md"), encoding: .utf8)
        #expect(card.contains("## Zero-shot tasks"))
        #expect(card.contains("| Model   | WinoGrande |"))
        let report = try String(contentsOf: folder.appending(path: "packed/compression_report.json"), encoding: .utf8)
        #expect(report.contains("\"hellaswag\"") && report.contains("\"acc_norm\""))
    }

    @Test("init --calibrate says what it takes and how well the layers fit; a LayerNorm behind them is refused")
    func calibrate() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let calibration = [
            "--calibrate", path("text.jsonl"), "--calibration-sequence-length", "16", "--block-wise", "2",
        ]
        let outcome = try await BuiltCommand.run(
            ["init", path("teacher"), "--output", path("start"), "--threads", "1"] + calibration)
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        #expect(outcome.output.contains("14 one-bit layers; error on the text"))
        #expect(outcome.errors.contains("calibrate: ") && outcome.errors.contains("memory"))
        let refused = try await BuiltCommand.run(
            ["init", path("teacher"), "--output", path("paper"), "--recipe", "paper"] + calibration)
        #expect(refused.exitCode == 1 && refused.errors.contains("--post-layernorm off"), "\(refused.errors)")
        #expect(!contents(".").contains { $0.contains("paper") })
    }

    @Test("distill killed with SIGKILL at any moment and resumed ends in the bytes of an unbroken run")
    func killAndResume() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await run(["init", path("teacher"), "--output", path("start")])
        try await run(distillation(to: "unbroken"))
        let expected = try Data(contentsOf: folder.appending(path: "unbroken/model.safetensors"))

        // Killed before the first checkpoint, while one is being written or between two, and after a resumption.
        for killedAfter in [nil, "step-3", "step-9", "step-21"] as [String?] {
            let saved = killedAfter.map { folder.appending(path: "broken.training/\($0)").path }
            let outcome = try await BuiltCommand.interrupt(
                distillation(to: "broken") + (killedAfter == nil ? [] : ["--resume"]), signal: SIGKILL
            ) { saved.map { FileManager.default.fileExists(atPath: $0) } ?? true }
            #expect(outcome.wasKilled)
            #expect(!contents(".").contains("broken"), "nothing that looks finished")
        }
        try await run(distillation(to: "broken") + ["--resume"])
        #expect(try Data(contentsOf: folder.appending(path: "broken/model.safetensors")) == expected)
        #expect(
            try Data(contentsOf: folder.appending(path: "broken/training_log.jsonl"))
                == Data(contentsOf: folder.appending(path: "unbroken/training_log.jsonl")))
        #expect(!contents(".").contains("broken.training"))
    }

    @Test("distill on a mixture, killed at any moment, ends in the best model of an unbroken run, and report shows it")
    func watched() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        // A file's name may end as a weight does.
        try Data(String(repeating: "the owl ran home and the cat saw the fox.\n", count: 20).utf8)
            .write(to: folder.appending(path: "more=1"))
        func command(to output: String, weight: Int = 2) -> [String] {
            [
                "distill", path("teacher"), "--start", path("start"), "--corpus", path("text.jsonl") + "=\(weight)",
                "--corpus", path("more=1") + "=1", "--output", path(output), "--steps", "30", "--batch-size", "2",
                "--sequence-length", "16", "--checkpoint-every", "3", "--threads", "1", "--learning-rate", "0.05",
                "--validate-every", "5", "--validation", path("text.jsonl"), "--validation-tokens", "64", "--keep-best",
                "--prompt", "the <b>",
            ]
        }
        try await run(["init", path("teacher"), "--output", path("start")])
        try await run(command(to: "unbroken"))
        for killedAfter in ["corpus-1.tokens", "step-6", "step-21"] {
            let saved = path("broken.training/\(killedAfter)")
            let outcome = try await BuiltCommand.interrupt(command(to: "broken") + ["--resume"], signal: SIGKILL) {
                FileManager.default.fileExists(atPath: saved)
            }
            #expect(outcome.wasKilled)
        }
        let other = try await BuiltCommand.run(command(to: "broken", weight: 3) + ["--resume"])
        #expect(other.exitCode == 1)
        #expect(other.errors.contains("corpus.1.weight = 2.0, now given 3.0"), "\(other.errors)")
        try await run(command(to: "broken") + ["--resume"])
        for file in ["model.safetensors", "training_log.jsonl"] {
            #expect(
                try Data(contentsOf: folder.appending(path: "broken/\(file)"))
                    == Data(contentsOf: folder.appending(path: "unbroken/\(file)")))
        }
        #expect(!contents(".").contains("broken.training"))
        #expect(Set(contents("broken")).isSuperset(of: ["metrics.jsonl", "run.json", "tensorboard"]))
        #expect(contents("broken/tensorboard").count > 1 && contents("unbroken/tensorboard").count == 1)

        try await run(["report", path("unbroken"), path("broken"), "--output", path("report.html")])
        let page = try String(contentsOf: folder.appending(path: "report.html"), encoding: .utf8)
        #expect(page.contains("Validation perplexity") && page.contains("the &lt;b&gt;") && !page.contains("<b>"))
        let again = try await BuiltCommand.run(["report", path("unbroken"), "--output", path("report.html")])
        #expect(again.exitCode == 1 && again.errors.contains("--overwrite"))
        let none = try await BuiltCommand.run(["report", path("none"), "--output", path("other.html")])
        #expect(none.exitCode == 1 && none.errors.contains("none"))
        #expect(!contents(".").contains("other.html"))
    }

    @Test(
        "compress keeps the metrics beside the packed model; a validation that cannot be made is refused before it is due"
    )
    func compressWatched() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        func command(_ more: [String]) -> [String] {
            [
                "compress", path("teacher"), "--output", path("packed"), "--corpus", path("text.jsonl"), "--steps", "4",
                "--batch-size", "2", "--sequence-length", "16",
            ] + more
        }
        try Data("{\"text\":\"the\"}\n".utf8).write(to: folder.appending(path: "short.jsonl"))
        let short = try await BuiltCommand.run(
            command(["--validate-every", "2", "--validation", path("short.jsonl")]))
        #expect(short.exitCode == 1 && short.errors.contains("short.jsonl has"), "\(short.errors)")
        #expect(!contents(".").contains("packed.work"))
        let alone = try await BuiltCommand.run(command(["--keep-best"]))
        #expect(alone.exitCode == 64)
        try await run(command(["--validate-every", "2", "--validation-tokens", "32", "--keep-best"]))
        #expect(Set(contents("packed")).isSuperset(of: ["metrics.jsonl", "run.json", "tensorboard"]))
        try await run(["report", path("packed"), "--output", path("report.html")])
    }

    @Test("compress killed in the middle of distillation and resumed packs the bytes of an unbroken run")
    func compressResumed() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        func compression(to output: String) -> [String] {
            [
                "compress", path("teacher"), "--output", path(output), "--samples", "24", "--max-length", "40",
                "--steps", "40", "--batch-size", "2", "--sequence-length", "16", "--checkpoint-every", "5",
                "--threads", "1",
            ]
        }
        try await run(compression(to: "unbroken"))
        let saved = path("broken.work/student.training/step-10")
        let outcome = try await BuiltCommand.interrupt(compression(to: "broken"), signal: SIGKILL) {
            FileManager.default.fileExists(atPath: saved)
        }
        #expect(outcome.wasKilled)
        let restart = try await BuiltCommand.run(compression(to: "broken"))
        #expect(restart.exitCode == 1)
        #expect(restart.errors.contains("--resume"))
        // Whatever decides the result is refused when it changes, by name; where it is computed may change.
        for (change, key) in [
            (["--seed", "5"], "seed = 0, now given 5"),
            (["--steps", "777"], "budget.length.steps = 40, now given 777"),
            (["--batch-size", "4"], "budget.batch_size = 2, now given 4"),
            (["--kl-weight", "1"], "loss.weights.kl_divergence"), (["--method", "svd"], "start.method"),
            (["--corpus", path("text.jsonl")], "corpus = not set"),
        ] {
            let other = try await BuiltCommand.run(compression(to: "broken") + change + ["--resume"])
            #expect(other.exitCode == 1)
            #expect(other.errors.contains("started with \(key)"), "\(other.errors)")
        }
        try await run(compression(to: "broken") + ["--resume", "--threads", "2"])
        #expect(
            try Data(contentsOf: folder.appending(path: "broken/model.safetensors"))
                == Data(contentsOf: folder.appending(path: "unbroken/model.safetensors")))
        #expect(!contents(".").contains("broken.work"))
    }

    @Test("compress killed between making its folder and the settings goes on, with and without --resume")
    func emptyWork() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        for resume in [[], ["--resume"]] {
            try FileManager.default.createDirectory(
                at: folder.appending(path: "packed.work"), withIntermediateDirectories: true)
            try await run(
                [
                    "compress", path("teacher"), "--output", path("packed"), "--corpus", path("text.jsonl"), "--steps",
                    "2", "--batch-size", "2", "--sequence-length", "16", "--overwrite",
                ] + resume)
        }
        #expect(!contents(".").contains("packed.work"))
    }

    @Test("A token that the model has no row for is named by file and line before anything is trained")
    func tokenBeyondModel() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let corpus = folder.appending(path: "bad.jsonl")
        try Data("{\"text\":\"the fox\"}\n\n{\"tokens\":[4,300]}\n".utf8).write(to: corpus)
        try await run(["init", path("teacher"), "--output", path("start")])
        for command in [
            [
                "distill", path("teacher"), "--start", path("start"), "--corpus", corpus.path, "--output",
                path("student"),
            ],
            ["compress", path("teacher"), "--corpus", corpus.path, "--output", path("packed")],
            ["compress", path("teacher"), "--text", corpus.path, "--output", path("packed")],
        ] {
            let outcome = try await BuiltCommand.run(command)
            #expect(outcome.exitCode == 1)
            #expect(outcome.errors.contains("bad.jsonl, line 3: token 300"), "\(outcome.errors)")
        }
        #expect(contents(".") == ["bad.jsonl", "start", "teacher", "text.jsonl"])
    }

    @Test("A corpus without a token is refused by its name, and leaves nothing behind")
    func emptyCorpus() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let corpus = folder.appending(path: "empty.jsonl")
        try Data().write(to: corpus)
        try await run(["init", path("teacher"), "--output", path("start")])
        for command in [
            [
                "distill", path("teacher"), "--start", path("start"), "--corpus", corpus.path, "--output",
                path("student"),
            ],
            ["compress", path("teacher"), "--corpus", corpus.path, "--output", path("packed"), "--steps", "5"],
            ["init", path("teacher"), "--output", path("calibrated"), "--calibrate", corpus.path],
        ] {
            let outcome = try await BuiltCommand.run(command)
            #expect(outcome.exitCode == 1, "\(command[0]): \(outcome.errors)")
            #expect(outcome.errors.contains("empty.jsonl"), "\(command[0]): \(outcome.errors)")
        }
        #expect(contents(".") == ["empty.jsonl", "start", "teacher", "text.jsonl"])
    }

    @Test("synthesize --overwrite replaces the file, and takes the recipe's settings that compress takes")
    func synthesizeOverwrite() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data("old".utf8).write(to: folder.appending(path: "corpus.jsonl"))
        let options = ["--samples", "24", "--max-length", "40", "--threads", "1"]
        try await run(["synthesize", path("teacher"), "--output", path("corpus.jsonl"), "--overwrite"] + options)
        #expect(contents(".") == ["corpus.jsonl", "teacher", "text.jsonl"])
        try await run(
            [
                "compress", path("teacher"), "--output", path("packed"), "--steps", "2", "--batch-size", "2",
                "--sequence-length", "16", "--keep-work",
            ] + options)
        #expect(
            try Data(contentsOf: folder.appending(path: "corpus.jsonl"))
                == Data(contentsOf: folder.appending(path: "packed.work/corpus.jsonl")))
    }

    @Test("Ctrl-C during synthesize exits with 130 soon, and what is whole is kept and resumed from")
    func synthesizeInterrupted() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let command = [
            "synthesize", path("teacher"), "--output", path("corpus.jsonl"), "--samples", "100000", "--max-length",
            "40",
            "--synthesis-batch", "8", "--threads", "2",
        ]
        let partial = folder.appending(path: "corpus.jsonl.partial")
        let outcome = try await BuiltCommand.interrupt(command) {
            ((try? Data(contentsOf: partial).count) ?? 0) > 0
        }
        #expect(outcome.exitCode == 130, "\(outcome.errors)")
        #expect(try Data(contentsOf: partial).last == 10)
        let restart = try await BuiltCommand.run(command)
        #expect(restart.exitCode == 1)
        #expect(restart.errors.contains("--resume"))
    }

    @Test("A teacher with a weight that is not a number is refused by file and tensor, and leaves nothing behind")
    func notANumber() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = folder.appending(path: "teacher/model.safetensors")
        var bytes = try Data(contentsOf: file)
        // The last tensor's last bfloat16.
        bytes.replaceSubrange((bytes.count - 2)..., with: [0xC0, 0x7F])
        try bytes.write(to: file)
        let outcome = try await BuiltCommand.run(["compress", path("teacher"), "--output", path("packed")])
        #expect(outcome.exitCode == 1)
        #expect(outcome.errors.contains("model.safetensors") && outcome.errors.contains("nan"))
        #expect(contents(".") == ["teacher", "text.jsonl"])
    }

    @Test("Ctrl-C during distill exits with 130, keeps the state and writes no output")
    func interrupted() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await run(["init", path("teacher"), "--output", path("start")])
        let saved = path("student.training/step-3")
        let outcome = try await BuiltCommand.interrupt(distillation(to: "student") + ["--steps", "3000"]) {
            FileManager.default.fileExists(atPath: saved)
        }
        #expect(outcome.exitCode == 130, "\(outcome.errors)")
        #expect(!contents(".").contains("student"))
        #expect(!contents("student.training").isEmpty)
        let restart = try await BuiltCommand.run(distillation(to: "student"))
        #expect(restart.exitCode == 1)
        #expect(restart.errors.contains("--resume"))
    }

    @Test("Teacher and student of different shapes, or the wrong kinds, are refused by name")
    func wrongKinds() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let outcome = try await BuiltCommand.run([
            "distill", path("teacher"), "--start", path("teacher"), "--corpus", path("text.jsonl"), "--output",
            path("student"),
        ])
        #expect(outcome.exitCode == 1)
        #expect(outcome.errors.contains(path("teacher")))
        #expect(!contents(".").contains("student"))
    }

    @Test("A file that stands where the output should go is left alone")
    func outputExists() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try Data("mine".utf8).write(to: folder.appending(path: "corpus.jsonl"))
        let outcome = try await BuiltCommand.run(
            ["synthesize", path("teacher"), "--output", path("corpus.jsonl"), "--samples", "2"])
        #expect(outcome.exitCode == 1)
        #expect(try Data(contentsOf: folder.appending(path: "corpus.jsonl")) == Data("mine".utf8))
    }
}
