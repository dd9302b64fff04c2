import Foundation
import Testing

/// What commands say before they begin, and what they keep of it.
@Suite("Plans of runs", .serialized)
struct PlanTests {
    private let folder: URL

    init() async throws { folder = try await Teacher.shared.workFolder() }

    private func path(_ name: String) -> String { folder.appending(path: name).path }

    private var contents: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).sorted()
    }

    @Test("A pretraining is planned, its steps fitted into a time, and a resumed one makes as many")
    func pretraining() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let before = contents
        let call = [
            "pretrain", path("text.jsonl"), "--output", path("m"), "--vocabulary-size", "270", "--hidden-size", "16",
            "--layers", "1", "--heads", "2", "--context", "16", "--batch-size", "2",
        ]
        let planned = try await BuiltCommand.run(call + ["--plan", "--time-budget", "1h"])
        #expect(planned.exitCode == 0 && planned.output.contains("pretrain"), "\(planned.errors)")
        let short = try await BuiltCommand.run(call + ["--time-budget", "0.001s"])
        #expect(short.exitCode == 1 && short.errors.contains("--time-budget"), "\(short.errors)")
        #expect(contents == before)
        let both = try await BuiltCommand.run(call + ["--steps", "10", "--time-budget", "1h"])
        #expect(both.exitCode == 64)

        let work = URL(filePath: path("m.training"))
        let file = work.appending(path: "plan.json")
        let stopped = try await BuiltCommand.interrupt(call + ["--time-budget", "10m", "--checkpoint-every", "5"]) {
            (try? FileManager.default.contentsOfDirectory(atPath: work.path))?.contains { $0.hasPrefix("step-") }
                == true
        }
        #expect(stopped.exitCode == 130 && FileManager.default.fileExists(atPath: file.path), "\(stopped.errors)")
        let plan = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Int]
        #expect(try #require(plan?["steps"]) > 10)
        // What is resumed is the run as it was planned, not what this machine would do now.
        let resumed = try await BuiltCommand.run(call + ["--steps", "20", "--resume"])
        #expect(resumed.exitCode == 1 && resumed.errors.contains("steps"), "\(resumed.errors)")
    }

    @Test("A published shape is planned for on machines that are described, and what does not fit is refused")
    func shapes() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let call = ["compress", "--plan", "--shape", "llama-7b", "--recipe", "paper", "--output", path("x")]
        let fits = try await BuiltCommand.run(call + ["--device-memory", "24G", "--host-memory", "1T"])
        #expect(fits.exitCode == 0, "\(fits.errors)")
        #expect(fits.output.contains("51,538 steps of 128 × 2048 tokens"))
        #expect(fits.output.contains("placement host"))
        let json = try await BuiltCommand.run(
            call + ["--device-memory", "80G", "--devices", "8", "--host-memory", "1T", "--json"])
        let plan = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
        #expect(plan["placement"] as? String == "sharded")
        #expect(plan["processes"] as? Int == 8)
        let refused = try await BuiltCommand.run(call + ["--device-memory", "4G", "--host-memory", "8G"])
        #expect(refused.exitCode == 1)
        #expect(refused.errors.contains("The run needs"))
        let unknown = try await BuiltCommand.run(["compress", "--plan", "--shape", "llama-8x", "--output", path("x")])
        #expect(unknown.exitCode == 1 && unknown.errors.contains("llama-7b"))
        #expect(contents == ["teacher", "text.jsonl"])
    }

    @Test("A plan of a run on this machine has time, memory and disk of each stage, and leaves nothing behind")
    func thisMachine() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let made = try await BuiltCommand.run(["init", path("teacher"), "--output", path("start")])
        #expect(made.exitCode == 0)
        let before = contents
        let whole = try await BuiltCommand.run([
            "compress", path("teacher"), "--output", path("x"), "--plan", "--json", "--samples", "20", "--max-length",
            "20", "--steps", "10", "--sequence-length", "16",
        ])
        #expect(whole.exitCode == 0, "\(whole.errors)")
        let plan = try #require(try JSONSerialization.jsonObject(with: Data(whole.output.utf8)) as? [String: Any])
        let stages = try #require(plan["stages"] as? [[String: Any]])
        #expect(stages.compactMap { $0["name"] as? String } == ["synthesize", "calibrate", "distill", "pack"])
        #expect(stages.allSatisfy { ($0["seconds"] as? Double ?? 0) > 0 && ($0["disk_bytes"] as? Int ?? 0) > 0 })
        let one = try await BuiltCommand.run([
            "distill", path("teacher"), "--start", path("start"), "--corpus", path("text.jsonl"), "--output", path("y"),
            "--steps", "10", "--sequence-length", "16", "--plan",
        ])
        #expect(one.exitCode == 0 && one.output.contains("distill"), "\(one.errors)")
        #expect(contents == before)
    }

    @Test("A time decides how much is done; a resumed run keeps that, and another time is refused")
    func timeBudget() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        func call(_ time: String) -> [String] {
            [
                "compress", path("teacher"), "--output", path("packed"), "--time-budget", time, "--max-length", "20",
                "--sequence-length", "16", "--batch-size", "2", "--checkpoint-every", "3", "--threads", "1",
            ]
        }
        let kept = folder.appending(path: "packed.work/plan.json")
        let stopped = try await BuiltCommand.interrupt(call("60s")) {
            FileManager.default.fileExists(atPath: path("packed.work/student.training/step-3/state.json"))
        }
        #expect(stopped.exitCode == 130, "\(stopped.errors)")
        let plan = try Data(contentsOf: kept)
        let other = try await BuiltCommand.run(call("50s") + ["--resume"])
        #expect(other.exitCode == 1)
        #expect(other.errors.contains("time_budget = 60.0 s, now given 50.0 s"), "\(other.errors)")
        #expect(try Data(contentsOf: kept) == plan)
        let none = try await BuiltCommand.run(call("0.01s"))
        #expect(none.exitCode == 1, "\(none.errors)")
        #expect(try Data(contentsOf: kept) == plan)
    }

    @Test("A run that is not resumed leaves the plan of the one that stands there as it is")
    func unfinished() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        let made = try await BuiltCommand.run(["init", path("teacher"), "--output", path("start")])
        #expect(made.exitCode == 0)
        func call(_ rest: [String]) -> [String] {
            [
                "distill", path("teacher"), "--start", path("start"), "--corpus", path("text.jsonl"), "--output",
                path("y"), "--sequence-length", "16", "--batch-size", "2", "--checkpoint-every", "3", "--threads", "1",
            ] + rest
        }
        let stopped = try await BuiltCommand.interrupt(call(["--time-budget", "60s"])) {
            FileManager.default.fileExists(atPath: path("y.training/step-3/state.json"))
        }
        #expect(stopped.exitCode == 130, "\(stopped.errors)")
        let plan = try Data(contentsOf: folder.appending(path: "y.training/plan.json"))
        let again = try await BuiltCommand.run(call(["--steps", "5"]))
        #expect(again.exitCode == 1 && again.errors.contains("--resume"), "\(again.errors)")
        #expect(try Data(contentsOf: folder.appending(path: "y.training/plan.json")) == plan)
    }

    @Test("A synthesis that a time was fitted to is resumed with its samples, and with its other settings alone")
    func synthesis() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        func call(_ rest: [String]) -> [String] {
            ["synthesize", path("teacher"), "--output", path("corpus.jsonl"), "--max-length", "40", "--threads", "1"]
                + rest
        }
        let planned = try await BuiltCommand.run(call(["--plan", "--time-budget", "5s"]))
        #expect(planned.exitCode == 0 && planned.output.contains("synthesize"), "\(planned.errors)")
        #expect(contents == ["teacher", "text.jsonl"])
        let stopped = try await BuiltCommand.interrupt(call(["--time-budget", "30s", "--samples", "100000"])) {
            (try? Data(contentsOf: folder.appending(path: "corpus.jsonl.partial")).count) ?? 0 > 200
        }
        #expect(stopped.exitCode == 130, "\(stopped.errors)")
        let choice = folder.appending(path: "corpus.jsonl.plan.json")
        let plan = try Data(contentsOf: choice)
        let again = try await BuiltCommand.run(call(["--time-budget", "1s"]))
        #expect(again.exitCode == 1 && again.errors.contains("--resume"), "\(again.errors)")
        #expect(try Data(contentsOf: choice) == plan)
        let other = try await BuiltCommand.run(call(["--resume", "--seed", "9"]))
        #expect(other.exitCode == 1 && other.errors.contains("seed = 0, now given 9"), "\(other.errors)")
    }
}
