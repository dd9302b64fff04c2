import Foundation
import Testing

@Suite("onebit bench")
struct BenchCommandTests {
    @Test("Speeds, sizes and bandwidth of a model, as a table and as JSON")
    func measures() async throws {
        let model = try ChatModel(template: nil)
        let options = ["--pp", "9", "--tg", "3", "--repetitions", "2", "--threads", "1"]
        let table = try await BuiltCommand.run(["bench", model.directory.path] + options)
        #expect(table.exitCode == 0)
        for word in ["pp9", "tg3", "t/s", "read bandwidth", "to the first token"] {
            #expect(table.output.contains(word), "\(word)")
        }

        let json = try await BuiltCommand.run(
            ["bench", model.directory.path, "--json", "--input-bits", "16", "--head-bits", "8"] + options)
        let report = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
        let results = try #require(report["results"] as? [[String: Any]])
        #expect(results.map { $0["name"] as? String } == ["pp9", "tg3"])
        for result in results {
            #expect((result["samples"] as? [Double])?.count == 2)
            #expect(try #require(result["tokens_per_second"] as? Double) > 0)
        }
        #expect(report["threads"] as? Int == 1 && report["input_bits"] as? Int == 16)
        for key in [
            "bytes_per_token", "model_bytes", "peak_bytes", "read_bandwidth", "bandwidth_share", "load_seconds",
        ] {
            #expect(try #require(report[key] as? Double) > 0, "\(key)")
        }
    }

    @Test("A model or a shape, not both; known shapes; prompts that fit")
    func refusals() async throws {
        #expect(try await BuiltCommand.run(["bench"]).exitCode == 64)
        #expect(try await BuiltCommand.run(["bench", "x", "--shape", "llama-7b"]).exitCode == 64)
        let shape = try await BuiltCommand.run(["bench", "--shape", "llama-9b"])
        #expect(shape.exitCode == 1 && shape.errors.contains("llama-7b"))
        let model = try ChatModel(template: nil)
        let long = try await BuiltCommand.run(["bench", model.directory.path, "--pp", "300000"])
        #expect(long.exitCode != 0 && long.errors.contains("200000"))
    }

    @Test("Dense models, several sequences and filled contexts: a result for each, by depth")
    func tests() async throws {
        let outcome = try await BuiltCommand.run([
            "bench", tinyTeacher.path, "--pp", "5", "--tg", "2", "--batch", "1,3", "--depth", "0,40", "-r", "1",
            "--threads", "1", "--json",
        ])
        #expect(outcome.exitCode == 0, "\(outcome.errors)")
        let report = try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
        #expect(report["kind"] as? String == "dense" && report["arithmetic"] as? String == "float32")
        #expect(report["input_bits"] == nil)
        let results = try #require(report["results"] as? [[String: Any]])
        #expect(
            results.map { $0["name"] as? String } == [
                "pp5", "tg2", "tg2 x3", "pp5 @ d40", "tg2 @ d40", "tg2 x3 @ d40",
            ])
        #expect(results.map { $0["sequences"] as? Int } == [1, 1, 3, 1, 1, 3])
        #expect(results.map { $0["depth"] as? Int } == [0, 0, 0, 40, 40, 40])
        #expect(try #require(report["bandwidth_share"] as? Double) > 0)
    }

    @Test(
        "Lists that are none, have a number twice or are out of range are wrong usage",
        arguments: [
            ["--batch", "1,,2"], ["--batch", "0"], ["--batch", "2,2"], ["--batch", ""], ["--batch", "two"],
            ["--depth", "-1"], ["--depth", "0,100000"], ["--depth", "1.5"],
        ])
    func lists(options: [String]) async throws {
        let outcome = try await BuiltCommand.run(["bench", tinyTeacher.path] + options)
        #expect(outcome.exitCode == 64 && outcome.output.isEmpty, "\(options)")
    }

    @Test("An unknown instruction set is refused by name, with those that this machine has")
    func instructionSet() async throws {
        let model = try ChatModel(template: nil)
        let outcome = try await BuiltCommand.shell(
            "ONEBIT_INSTRUCTION_SET=avx9000 onebit bench '\(model.directory.path)' --pp 1 --tg 1")
        #expect(outcome.exitCode == 1)
        #expect(outcome.errors.contains("avx9000") && outcome.errors.contains("portable"))
    }
}
