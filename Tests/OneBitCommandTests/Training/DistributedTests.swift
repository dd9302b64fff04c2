import Foundation
import Testing

/// `onebit distill` by several processes, as a user runs it.
@Suite("Several processes", .serialized)
struct DistributedTests {
    private let folder: URL

    init() async throws { folder = try await Teacher.shared.workFolder() }

    private func path(_ name: String) -> String { folder.appending(path: name).path }

    private func contents(_ name: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path(name))) ?? []).sorted()
    }

    private func distillation(to output: String, steps: Int = 12) -> [String] {
        [
            "distill", path("teacher"), "--start", path("start"), "--corpus", path("text.jsonl"), "--output",
            path(output), "--steps", "\(steps)", "--batch-size", "4", "--sequence-length", "16", "--checkpoint-every",
            "3", "--threads", "1",
        ]
    }

    private func run(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let outcome = try await BuiltCommand.run(arguments)
        #expect(outcome.exitCode == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
    }

    private func losses(_ output: String) throws -> [Double] {
        try Data(contentsOf: folder.appending(path: "\(output)/training_log.jsonl")).split(separator: 10).map {
            let line = try JSONSerialization.jsonObject(with: $0) as? [String: Any]
            return try #require(line?["loss"] as? Double)
        }
    }

    private func start() async throws { try await run(["init", path("teacher"), "--output", path("start")]) }

    @Test("Three processes write what one writes, one of them speaks, and nothing is left behind")
    func processes() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await start()
        try await run(distillation(to: "alone"))
        let outcome = try await BuiltCommand.run(distillation(to: "together") + ["--processes", "3"])
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        #expect(!outcome.errors.contains("[rank"), "\(outcome.errors)")
        for (one, other) in zip(try losses("alone"), try losses("together")) { #expect(abs(one - other) < 1e-4 * one) }
        #expect(contents("together") == contents("alone"))
        #expect(!contents(".").contains { $0.contains("training") || $0.hasPrefix(".") })
    }

    @Test(
        "A process that is killed ends all with a message that names it; the run is resumed by another number of them")
    func killed() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await start()
        let outcome = try await BuiltCommand.converse(
            distillation(to: "broken", steps: 4000) + ["--processes", "3"]
        ) { running in
            try await running.wait {
                FileManager.default.fileExists(atPath: path("broken.training/step-6/state.json"))
            }
            // Any thread of the process may have started them, and a thread may end while the list is read.
            let tasks = URL(filePath: "/proc/\(running.process.processIdentifier)/task")
            func children() -> [Int32] {
                let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks.path)) ?? []
                return threads.flatMap { thread in
                    let list = try? String(contentsOf: tasks.appending(path: "\(thread)/children"), encoding: .utf8)
                    return (list ?? "").split(separator: " ").compactMap { Int32($0) }
                }
            }
            try await running.wait { children().count == 2 }
            let child = try #require(children().last)
            kill(child, SIGKILL)
        }
        #expect(outcome.exitCode == 1 && !outcome.wasKilled)
        #expect(outcome.errors.contains("was ended by signal 9"), "\(outcome.errors)")
        #expect(!contents(".").contains("broken"))
        let saved = contents("broken.training").filter { $0.hasPrefix("step-") }
        #expect(!saved.isEmpty)
        for step in saved {
            #expect(contents("broken.training/\(step)").filter { $0.hasSuffix(".safetensors") }.count == 3)
        }
        let resumed = try await BuiltCommand.interrupt(
            distillation(to: "broken", steps: 4000) + ["--processes", "2", "--resume"]
        ) { contents("broken.training").contains { name in !saved.contains(name) && name.hasPrefix("step-") } }
        #expect(resumed.exitCode == 130, "\(resumed.errors)")
        let newest = try #require(
            contents("broken.training").compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }.max())
        #expect(contents("broken.training/step-\(newest)").filter { $0.hasSuffix(".safetensors") }.count == 2)
    }

    @Test("Processes that were started by hand meet over TCP and in a file; what does not fit is refused on every rank")
    func launchers() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await start()
        let call = distillation(to: "met").map { "'\($0)'" }.joined(separator: " ")
        let store = path("store")
        let met = try await BuiltCommand.shell(
            """
            export WORLD_SIZE=2
            RANK=1 onebit \(call) --rendezvous file://\(store) & RANK=0 onebit \(call) --rendezvous file://\(store)
            first=$?; wait $! && exit $first
            """)
        #expect(met.exitCode == 0, "\(met.errors)")
        #expect(contents(".").contains("met"))

        func expectRefusal(
            _ environment: String, _ arguments: String, _ words: [String],
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let outcome = try await BuiltCommand.shell("\(environment) onebit \(call) --overwrite \(arguments)")
            #expect(outcome.exitCode == 1, sourceLocation: sourceLocation)
            for word in words {
                #expect(outcome.errors.contains(word), "\(outcome.errors)", sourceLocation: sourceLocation)
            }
        }
        try await expectRefusal("RANK=0 WORLD_SIZE=2", "", ["MASTER_ADDR"])
        try await expectRefusal("RANK=0 WORLD_SIZE=2", "--processes 3", ["WORLD_SIZE is 2", "--processes"])
        try await expectRefusal("RANK=7 WORLD_SIZE=2", "", ["RANK is \"7\""])
        try await expectRefusal("", "--processes 2 --rendezvous there", ["no rendezvous address"])
        try await expectRefusal(
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29517", "--process-timeout 1",
            ["rank 1 did not come within 1 s", "--process-timeout"])
        try await expectRefusal(
            "RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29518", "--process-timeout 1",
            ["nothing answered within 1 s"])
        let sizes = try await BuiltCommand.shell(
            """
            rm -f \(store)
            (WORLD_SIZE=3 RANK=1 onebit \(call) --overwrite --rendezvous file://\(store); exit $?) & \
            WORLD_SIZE=2 RANK=0 onebit \(call) --overwrite --rendezvous file://\(store)
            first=$?; wait $!; echo $first $?
            """)
        #expect(sizes.output == "1 1\n", "\(sizes.errors)")
        #expect(sizes.errors.contains("was started for a group of"))
    }

    @Test("A port in use is refused by its number")
    func portInUse() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await start()
        let call = distillation(to: "met").map { "'\($0)'" }.joined(separator: " ")
        let outcome = try await BuiltCommand.shell(
            """
            export WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29519
            onebit \(call) --process-timeout 20 2> /dev/null & first=$!
            until bash -c '> /dev/tcp/127.0.0.1/29519' 2> /dev/null; do sleep 0.05; done
            onebit \(call); second=$?; kill $first; wait $first 2> /dev/null; exit $second
            """)
        #expect(outcome.exitCode == 1)
        #expect(outcome.errors.contains("29519: the port is in use"), "\(outcome.errors)")
        #expect(outcome.errors.contains("--rendezvous"))
    }

    @Test("compress by two processes makes the packed model, with card and report")
    func compress() async throws {
        defer { try? FileManager.default.removeItem(at: folder) }
        try await run([
            "compress", path("teacher"), "--output", path("packed"), "--samples", "24", "--max-length", "40", "--steps",
            "6", "--batch-size", "2", "--sequence-length", "16", "--processes", "2",
        ])
        #expect(
            Set(contents("packed")).isSuperset(of: ["README.md", "compression_report.json", "model.safetensors"]))
        #expect(!contents(".").contains { $0.contains("packed.") })
    }
}
