import Foundation
import TestSupport
import Testing

@testable import OneBitTraining
@testable import ResumableRuns

@Suite("TensorBoard's event files")
struct TensorBoardTests {
    /// Of scripts/reference/tensorboard_events.py: tensorboard 2.21.0 and protobuf 7.36.2.
    private static let records: [(TensorBoardEvent, String)] = [
        (
            TensorBoardEvent(wallTime: 1.25, step: 0, content: .fileVersion),
            "1800000000000000a37f4b2209000000000000f43f1a0d627261696e2e4576656e743a32280b517b"
        ),
        (
            TensorBoardEvent(wallTime: 1.25, step: 301, content: .sessionStart),
            "100000000000000095fbfe1809000000000000f43f10ad023a020801592e11f3"
        ),
        (
            TensorBoardEvent(
                wallTime: 1.25, step: 300,
                content: .scalars([
                    .init(tag: "train/loss", value: 2.5), .init(tag: "train/grad_norm", value: 0),
                    .init(tag: "eval/perplexity", value: .infinity),
                ])),
            "51000000000000009ca1d9bc09000000000000f43f10ac022a430a110a0a747261696e2f6c6f737315000020400a160a0f74"
                + "7261696e2f677261645f6e6f726d15000000000a160a0f6576616c2f706572706c6578697479150000807f77744902"
        ),
        (
            TensorBoardEvent(wallTime: 1.25, step: 300, content: .text(tag: "eval/sample", "Es war einmal …\n")),
            "520000000000000025eb07b709000000000000f43f10ac022a440a420a186576616c2f73616d706c652f746578745f73756d"
                + "6d617279421c080712041202080142124573207761722065696e6d616c20e280a60a4a080a060a0474657874f1b0b7ba"
        ),
    ]

    @Test("Records are TensorBoard's own, byte for byte")
    func records() {
        for (event, expected) in Self.records {
            #expect(event.record.map { String(format: "%02x", $0) }.joined() == expected)
        }
    }

    @Test("The checksum is CRC-32C")
    func checksum() {
        // RFC 3720, B.4: 32 bytes of zeros; and the check value of the CRC catalog.
        for (data, crc) in [(Data(count: 32), 0x8A91_36AA), (Data("123456789".utf8), 0xE306_9283)] as [(Data, UInt32)] {
            #expect(maskedCRC32C(data) == (crc >> 15 | crc << 17) &+ 0xA282_EAD8)
        }
    }
}

@Suite("Watching a run")
struct MonitoringTests {
    private struct Stop: Error {}
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func loop() throws -> TrainingLoop {
        let configuration = TinyModels.pretraining(steps: 8)
        return try TrainingLoop(
            model: TinyModels.random(seed: 1), objective: .nextToken, tokens: TinyModels.tokens,
            budget: configuration.budget, optimizer: configuration.optimizer, seed: configuration.seed,
            settings: configuration, execution: Execution(threads: 1))
    }

    private func weights(_ model: Transformer) throws -> [[Float]] {
        try model.parameters.map { try $0.value.numbers().floats() }
    }

    /// A monitor that finds the perplexity 10 + |step − best| every second step.
    private func monitor(best: Int = 100, judged: @escaping (Int, TorchModel) throws -> Void = { _, _ in })
        -> TrainingMonitor
    {
        TrainingMonitor(
            directory: folder.url,
            validation: .init(interval: 2, identity: ["best": "\(best)"]) { step, model in
                try judged(step, model)
                return ValidationResult(
                    perplexity: 10 + Double(abs(step - best)), klDivergence: 1, topOneAgreement: 0.5, tokens: 7,
                    sample: "step \(step)", seconds: 0.1)
            }, peakOperationsPerSecond: 1e9, notes: ["device": "cpu"])
    }

    @discardableResult
    private func run(
        _ monitor: TrainingMonitor, resumes: Bool = false, keepsBest: Bool = false, stop: Int? = nil
    ) throws -> TrainingLoop {
        let loop = try loop()
        _ = try loop.run(
            policy: CheckpointPolicy(directory: folder.url, interval: 3, resumes: resumes, keepsBest: keepsBest),
            monitor: monitor, observe: { if $0.step == stop { throw Stop() } })
        return loop
    }

    private func lines() -> [MetricsLine] { MetricsLine.read(folder.file("metrics.jsonl")) }

    private func eventFiles() throws -> [Data] {
        let directory = folder.file("tensorboard")
        return try FileManager.default.contentsOfDirectory(atPath: directory.path)
            .sorted { $0.split(separator: ".").last! < $1.split(separator: ".").last! }
            .map { try Data(contentsOf: directory.appending(path: $0)) }
    }

    @Test(
        "Each step and each validation is a line; a resumption cuts what is behind its step and begins a new event file"
    )
    func metrics() throws {
        #expect(throws: Stop.self) { try run(monitor(), stop: 5) }
        // As a kill leaves it: lines behind the last checkpoint, a torn one.
        try FileManager.default.removeItem(at: folder.file("step-5"))
        let handle = try FileHandle(forWritingTo: folder.file("metrics.jsonl"))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data("{\"step\":6,\"lo".utf8))
        try handle.close()
        try run(monitor(), resumes: true)

        let steps = lines().compactMap { if case .step(let metrics) = $0 { metrics } else { nil } }
        #expect(steps.map(\.event.step) == Array(1...8))
        #expect(lines().compactMap { if case .validation(let step, _) = $0 { step } else { nil } } == [2, 4, 6, 8])
        for metrics in steps {
            #expect(metrics.tokens == metrics.event.step * 32 && metrics.stepTokens == 32)
            #expect(metrics.seconds > 0 && metrics.operations > 0 && metrics.peakBytes > 1 << 20)
            #expect(metrics.epoch == Double(metrics.event.step * 32) / 400)
            #expect(metrics.learningRates[.dense] == 1e-2 * metrics.event.learningRateFactor)
            #expect(metrics.turnedSigns == nil, "a dense model has no signs")
            #expect((metrics.phases[.optimizer] ?? 0) > 0)
        }
        let files = try eventFiles()
        #expect(files.count == 2)
        let start = TensorBoardEvent(wallTime: 0, step: 4, content: .sessionStart).encoded.dropFirst(9)
        #expect(files[0].range(of: start) == nil && files[1].range(of: start) != nil)
        #expect(files.allSatisfy { $0.range(of: Data("train/learning_rate".utf8)) != nil })
        // Another start takes nothing over from what is there.
        for name in try folder.entries where name.hasPrefix("step-") {
            try FileManager.default.removeItem(at: folder.file(name))
        }
        #expect(throws: Stop.self) { try run(monitor(), stop: 1) }
        #expect(lines().map(\.step) == [1])
        #expect(try eventFiles().count == 1)
    }

    @Test("A line reads as it was written, numbers that are not finite included")
    func lineRoundTrip() throws {
        let event = TrainingEvent(
            step: 3, loss: .nan, parts: ["kl_per_token": .infinity], learningRateFactor: 0.5, gradientNorm: 2)
        let metrics = StepMetrics(
            event: event, epoch: 0.5, learningRates: [.latent: 1e-3, .norm: 0], tokens: 96, stepTokens: 32,
            seconds: 1.5,
            phases: [.studentForward: 0.5], turnedSigns: 0.25, operations: 1e12, peakBytes: 5)
        let validation = ValidationResult(perplexity: .infinity, tokens: 3, sample: "</pre>\n\u{7}", seconds: 1)
        for line in [MetricsLine.step(metrics), .validation(step: 3, validation)] {
            let data = try line.data
            #expect(data.filter { $0 == 10 }.count == 1)
            let file = try folder.write(data, as: "line.jsonl")
            // NaN is unequal to itself; its text is not.
            #expect(try MetricsLine.read(file).map { try $0.data } == [data])
        }
        let object = try #require(
            try JSONSerialization.jsonObject(with: MetricsLine.step(metrics).data) as? [String: Any])
        #expect(object["loss"] as? String == "nan" && object["gradient_norm"] as? Double == 2)
        #expect((object["parts"] as? [String: String])?["kl_per_token"] == "inf")
    }

    @Test("With keepsBest a run ends with the model that did best, stopped and resumed at any step or not")
    func keepsBest() throws {
        var best: [[Float]] = []
        let whole = try run(
            monitor(best: 4) { step, model in if step == 4 { best = try weights(model.model) } }, keepsBest: true)
        #expect(try weights(whole.model) == best)
        let last = try loop()
        _ = try last.run(policy: nil, observe: { _ in })
        #expect(try weights(last.model) != best)
        // The best one is kept beside the newest two.
        #expect(try folder.entries.filter { $0.hasPrefix("step-") } == ["step-4", "step-6", "step-8"])

        for stop in [2, 3, 4, 5, 7] {
            for name in try folder.entries { try FileManager.default.removeItem(at: folder.file(name)) }
            #expect(throws: Stop.self) { try run(monitor(best: 4), keepsBest: true, stop: stop) }
            #expect(try weights(run(monitor(best: 4), resumes: true, keepsBest: true).model) == best, "\(stop)")
        }
        #expect {
            try run(monitor(best: 5), resumes: true, keepsBest: true)
        } throws: { error in
            guard case .settingsChanged(_, "best", "4", "5")? = error as? RunError else { return false }
            return true
        }
    }

    @Test("A run that is stopped while it validates does so again when it is resumed")
    func stoppedInValidation() throws {
        #expect(throws: Stop.self) {
            try run(monitor(best: 4) { step, _ in if step == 4 { throw Stop() } }, keepsBest: true)
        }
        #expect(lines().map(\.step) == [1, 2, 2, 3, 4])
        var judged: [Int] = []
        try run(monitor(best: 4) { step, _ in judged.append(step) }, resumes: true, keepsBest: true)
        #expect(judged == [4, 6, 8])
        #expect(try String(contentsOf: folder.file("best.json"), encoding: .utf8) == "{\"perplexity\":10,\"step\":4}")
    }

    @Test("A model that is no better than the best so far, or whose perplexity is no number, is not kept")
    func notBetter() throws {
        let loop = try loop()
        _ = try loop.run(
            policy: CheckpointPolicy(directory: folder.url, interval: 3, resumes: false, keepsBest: true),
            monitor: TrainingMonitor(
                directory: folder.url,
                validation: .init(interval: 2) { step, _ in
                    ValidationResult(perplexity: step == 2 ? 5 : step == 4 ? .nan : 5, tokens: 1, seconds: 0)
                }), observe: { _ in })
        #expect(try String(contentsOf: folder.file("best.json"), encoding: .utf8) == "{\"perplexity\":5,\"step\":2}")
    }

    @Test("Operations of a pass: two for each weight, and the attention over the tokens that are seen")
    func operations() throws {
        let configuration = try TinyModels.configuration()
        // Per layer q, o 16 × 16, k, v 16 × 8, three of 16 × 24; the head 16 × 32.
        let weights = 2 * (2 * 256 + 2 * 128 + 3 * 384) + 512
        // Two products over (8 + 1) / 2 tokens of 16 numbers, in each of two layers.
        let attention = 2 * 2 * 9 / 2 * 16 * 2
        #expect(configuration.forwardOperations(sequenceLength: 8) == Double(2 * weights + attention))
    }
}

@Suite("The report")
struct TrainingReportTests {
    private func history(
        _ name: String, steps: Int = 600, sample: String = "once", settings: [String: String] = ["seed": "1"]
    ) -> TrainingHistory {
        var lines: [MetricsLine] = []
        for step in 1...steps {
            let event = TrainingEvent(
                step: step, loss: step == 7 ? .nan : 100 / Double(step), parts: ["kl_per_token": 1 / Double(step)],
                learningRateFactor: 1, gradientNorm: 2)
            lines.append(
                .step(
                    StepMetrics(
                        event: event, epoch: 0, learningRates: [.latent: 1e-3], tokens: step * 10, stepTokens: 10,
                        seconds: 0.5, phases: [.teacher: 0.2, .backward: 0.2], turnedSigns: 0.01, operations: 1e9,
                        peakBytes: 2_000_000_000)))
            if step % 100 == 0 {
                lines.append(
                    .validation(
                        step: step,
                        ValidationResult(
                            perplexity: 900 / Double(step), teacherPerplexity: 4, klDivergence: 0.5,
                            topOneAgreement: 0.6, tokens: 100, sample: sample, seconds: 1)))
            }
        }
        return TrainingHistory(
            name: name,
            description: .init(settings: settings, execution: ["device": "cpu"], parameters: 1000, steps: steps),
            lines: lines)
    }

    @Test("One page with every plot, table and sample, which needs no other file and no address")
    func selfContained() throws {
        let page = TrainingReport([history("run-a")]).html
        for caption in [
            "Loss", "KL per token", "Validation perplexity", "KL divergence from the teacher, nats per token",
            "Top-1 agreement with the teacher, %", "Learning rate", "Gradient norm", "Signs turned by a step, %",
            "Speed, tokens per second", "Peak memory, GB", "Time by phase", "Samples", "Settings",
        ] {
            #expect(page.contains(caption), "\(caption)")
        }
        #expect(page.matches(of: /<figure>/).count == 11)
        #expect(!page.contains("nan") && !page.contains("inf\""), "what is not finite is not drawn")
        let numbers = try checkReportPage(page)
        #expect(numbers["runs"] as? [String] == ["run-a"])
        #expect((numbers["plots"] as? [[String: Any]])?.contains { $0["title"] as? String == "Loss" } == true)
    }

    @Test("Tags are balanced, and what runs say of themselves is text, never markup")
    func hostileText() throws {
        let hostile = "</pre><script>alert('1')</script><img src=x onerror=alert(1)>&amp;\u{0}\u{1B}"
        let page = TrainingReport([
            history("<b>\"a\"</b>", sample: hostile, settings: ["<i>key</i>": hostile]), history("b"),
        ]).html
        try checkReportPage(page)
        #expect(!page.contains("<img") && !page.contains("<b>") && !page.contains("<i>"))
        #expect(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"))
        #expect(
            page.contains("&amp;amp;") && !page.unicodeScalars.contains("\u{0}")
                && !page.unicodeScalars.contains("\u{1B}"))
    }

    @Test("Live, a run says how far it is, how fast and how long it will take, and shows its last sample")
    func live() {
        let run = LiveTraining.Run(state: .training, history: history("<run>", sample: "<last>"), malformedLines: 3)
        let page = LiveTraining([run]).page
        let status = page.sections[0].html
        for text in [
            "&lt;run&gt;", "training", "600 of 600", "KL per token", "tokens per second", "time left", "2 GB",
            "Sample after step 600", "&lt;last&gt;", "could not be read: 3",
        ] {
            #expect(status.contains(text), "\(text)")
        }
        #expect(Set(page.sections.map(\.id)).count == page.sections.count)
        // One that has not begun has sections to be filled later, and no figures.
        let waiting = LiveTraining([.init(state: .waiting, history: TrainingHistory(name: "x"), malformedLines: 0)])
            .page
        #expect(waiting.sections.map(\.id) == page.sections.map(\.id))
        #expect(waiting.sections[0].html.contains("waiting"))
        #expect(waiting.sections.dropFirst().allSatisfy { $0.html.isEmpty })
    }

    @Test("A history takes lines in one by one, and says which are none")
    func appending() throws {
        let event = TrainingEvent(step: 1, loss: 1, parts: [:], learningRateFactor: 1, gradientNorm: 1)
        let metrics = StepMetrics(
            event: event, epoch: 1, learningRates: [:], tokens: 1, stepTokens: 1, seconds: 1, operations: 1,
            peakBytes: 1)
        var history = TrainingHistory(name: "a")
        #expect(history.append(line: try MetricsLine.step(metrics).data))
        #expect(!history.append(line: Data("{\"step\":".utf8)) && !history.append(line: Data("[]".utf8)))
        #expect(history.steps == [metrics])
    }

    @Test("Of several runs each has a line in each plot, and settings that differ are marked")
    func comparison() {
        let page = TrainingReport([history("a"), history("b", steps: 50, settings: ["seed": "2"])]).html
        #expect(page.contains("class=\"run0\"") && page.contains("class=\"run1\""))
        #expect(page.contains("<tr class=\"differs\"><td>seed</td><td>1</td><td>2</td></tr>"))
        #expect(!page.contains("<tr class=\"differs\"><td>device</td>"))
    }

    @Test("A directory without metrics is refused by name; the work of a compression is found in its folder")
    func directories() throws {
        let folder = try TemporaryDirectory()
        #expect(throws: TrainingError.noMetrics(directory: folder.url)) { try TrainingHistory(directory: folder.url) }
        let event = TrainingEvent(step: 1, loss: 1, parts: [:], learningRateFactor: 1, gradientNorm: 1)
        let metrics = StepMetrics(
            event: event, epoch: 1, learningRates: [:], tokens: 1, stepTokens: 1, seconds: 1, operations: 1,
            peakBytes: 1)
        try FileManager.default.createDirectory(
            at: folder.file("student.training"), withIntermediateDirectories: true)
        try folder.write(MetricsLine.step(metrics).data, as: "student.training/metrics.jsonl")
        #expect(try TrainingHistory(directory: folder.url).steps == [metrics])
    }
}
