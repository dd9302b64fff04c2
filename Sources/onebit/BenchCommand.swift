import ArgumentParser
import Foundation
import LanguageModel
import ModelDescription
import OneBitRuntime
import SignDecomposition
import TensorFiles

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a packed model's speed.",
        discussion: """
            In llama-bench's terms: ppN is the rate of a prompt of N tokens, tgN that of N tokens generated one by one; \
            mean ± deviation over the repetitions. The memory's read bandwidth is measured in the same run, and the \
            share of it that generation reaches: bytes of weights per token times tokens per second over bandwidth.

            With --shape the weights are random and written to a temporary directory first, so no model is needed. \
            Shapes: \(ModelConfiguration.knownShapes.joined(separator: ", ")).

            EXAMPLES
              onebit bench packed
              onebit bench --shape llama-7b --threads 2 --repetitions 3
              onebit bench --shape llama-7b --keep /tmp/llama-7b-random --pp 128 --tg 32 --json
            """
    )

    @Argument(help: "Directory of a packed model.")
    var model: URL?

    @Option(help: ArgumentHelp("A published shape with random weights in place of a model.", valueName: "name"))
    var shape: String?

    @Option(help: ArgumentHelp("Where to write the random model and leave it.", valueName: "directory"))
    var keep: URL?

    @Option(help: ArgumentHelp("Tokens of the prompt; 0 leaves the test out.", valueName: "n"))
    var pp = 512

    @Option(help: ArgumentHelp("Tokens to generate; 0 leaves the test out.", valueName: "n"))
    var tg = 128

    @Option(name: [.customShort("r"), .long], help: ArgumentHelp("Repetitions of each test.", valueName: "n"))
    var repetitions = 5

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption

    func validate() throws {
        guard (model == nil) != (shape == nil) else {
            throw ValidationError("Give a directory or --shape, one of the two.")
        }
        guard keep == nil || shape != nil else { throw ValidationError("--keep goes with --shape.") }
        guard pp >= 0, tg >= 0, repetitions >= 1 else {
            throw ValidationError("--pp and --tg must be 0 or more, --repetitions 1 or more.")
        }
    }

    func run() throws {
        let random = try shape.map { try RandomModel(shape: $0, keep: keep) }
        defer { random?.remove() }
        let directory = random?.directory ?? model!
        let report = try measure(directory, name: shape ?? directory.lastPathComponent)
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }

    private func measure(_ directory: URL, name: String) throws -> BenchReport {
        let checkpoint = try options.checkpoints.open(directory)
        let longest = checkpoint.configuration.maximumPositions
        for (option, tokens) in [("--pp", pp), ("--tg", tg)] where tokens > longest {
            throw ValidationError("\(option) must be at most the model's context of \(longest), not \(tokens).")
        }
        // Once for the kernels' order of the signs; the time that counts is that of every later load.
        _ = try PackedModel(checkpoint: checkpoint, options: options.loadOptions)
        let clock = ContinuousClock()
        let start = clock.now
        let model = try PackedModel(
            checkpoint: options.checkpoints.reopen(directory), options: options.loadOptions)
        let loaded = clock.now
        _ = try model.logits(of: [0])
        let firstToken = clock.now
        let peakBytes = PeakMemory.bytes

        let benchmark = ModelBenchmark(model: model)
        var bandwidths = [try benchmark.readBandwidth()]
        var results: [ModelBenchmark.Result] = []
        if pp > 0 {
            results.append(try benchmark.prompt(pp, repetitions: repetitions))
        }
        if tg > 0 {
            results.append(try benchmark.generation(tg, repetitions: repetitions))
            bandwidths.append(try benchmark.readBandwidth())
        }
        return BenchReport(
            model: name, checkpoint: checkpoint, packed: model,
            loadSeconds: (loaded - start) / .seconds(1), firstTokenSeconds: (firstToken - start) / .seconds(1),
            loadPeakBytes: peakBytes, bandwidth: bandwidths.reduce(0, +) / Double(bandwidths.count), results: results)
    }
}

/// A random model on disk, for as long as it is needed.
private struct RandomModel {
    let directory: URL
    private let isTemporary: Bool

    init(shape: String, keep: URL?) throws {
        let configuration = try ModelConfiguration(shape: shape)
        isTemporary = keep == nil
        directory = keep ?? FileManager.default.temporaryDirectory.appending(path: "onebit-bench-\(UUID().uuidString)")
        StandardStreams.writeError(
            "Writing a random \(shape) of \(Quantity.bytes(RandomCheckpoint.byteCount(configuration))) "
                + "to \(directory.path)\n")
        _ = try StagedDirectory.write(to: directory, overwrite: false) {
            try RandomCheckpoint.write(configuration, to: $0)
        }
    }

    func remove() {
        if isTemporary { try? FileManager.default.removeItem(at: directory) }
    }
}

/// What `bench` prints.
private struct BenchReport: Encodable {
    struct Result: Encodable {
        let name: String
        let tokensPerSecond: Double
        let deviation: Double
        let samples: [Double]
    }

    let model: String
    let modelBytes: Int
    let parameters: Int
    let bytesPerToken: Int
    let threads: Int
    let inputBits: Int
    let instructionSet: String
    let loadSeconds: Double
    let loadToFirstTokenSeconds: Double
    let loadPeakBytes: Int
    let peakBytes: Int
    /// Bytes per second.
    let readBandwidth: Double
    /// Share of the bandwidth that generation reaches; nil without the test.
    let bandwidthShare: Double?
    let results: [Result]

    init(
        model: String, checkpoint: Checkpoint, packed: PackedModel, loadSeconds: Double, firstTokenSeconds: Double,
        loadPeakBytes: Int, bandwidth: Double, results: [ModelBenchmark.Result]
    ) {
        self.model = model
        modelBytes = checkpoint.byteCount
        parameters = checkpoint.configuration.parameterCount
        bytesPerToken = packed.bytesPerToken
        threads = packed.threads
        inputBits = packed.inputPrecision.rawValue
        instructionSet = packed.instructionSet.name
        self.loadSeconds = loadSeconds
        loadToFirstTokenSeconds = firstTokenSeconds
        self.loadPeakBytes = loadPeakBytes
        peakBytes = PeakMemory.bytes
        readBandwidth = bandwidth
        self.results = results.map {
            Result(name: $0.name, tokensPerSecond: $0.tokensPerSecond, deviation: $0.deviation, samples: $0.samples)
        }
        let generation = results.first { $0.name.hasPrefix("tg") }
        bandwidthShare = generation.map { $0.tokensPerSecond * Double(packed.bytesPerToken) / bandwidth }
    }

    var text: String {
        var table = TextTable([
            .text("model"), .figure("size"), .figure("params"), .figure("threads"), .figure("inputs"), .text("kernels"),
            .text("test"), .figure("t/s"),
        ])
        for result in results {
            table.append([
                model, Quantity.bytes(modelBytes), Quantity.count(parameters), "\(threads)", "\(inputBits) bit",
                instructionSet, result.name,
                "\(Quantity.rate(result.tokensPerSecond)) ± \(Quantity.fixed(result.deviation, digits: 2))",
            ])
        }
        let share = bandwidthShare.map {
            "; generation reads \(Quantity.bytes(bytesPerToken)) a token, \(Quantity.fixed(100 * $0, digits: 0)) % of it"
        }
        return """
            \(table.text)
            read bandwidth \(Quantity.bytes(Int(readBandwidth)))/s\(share ?? "")
            load \(Quantity.fixed(loadSeconds, digits: 2)) s, to the first token \
            \(Quantity.fixed(loadToFirstTokenSeconds, digits: 2)) s, peak memory until then \
            \(Quantity.bytes(loadPeakBytes)) (of the whole benchmark \(Quantity.bytes(peakBytes)))

            """
    }
}
