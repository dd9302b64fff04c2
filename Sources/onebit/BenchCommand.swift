import ArgumentParser
import Foundation
import LanguageModel
import ModelDescription
import OneBitRuntime
import SignDecomposition
import TensorFiles

struct BenchCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a model's speed.",
        discussion: """
            Packed and dense models on the CPU, in llama-bench's terms: ppN is the rate of a prompt of N tokens, tgN that of \
            N tokens generated one by one; mean ± deviation over the repetitions. "tg128 x4" are four sequences decoded side \
            by side, the tokens of all of them counted; "pp512 @ d2048" and "tg128 @ d2048" come behind a context of 2,048 \
            tokens, which is filled beforehand. The memory's read bandwidth is measured in the same run, and the share of it \
            that the generation of one sequence from an empty context reaches: bytes of weights per token times tokens per \
            second over bandwidth.

            With --shape the weights are random and written to a temporary directory first, so no model is needed. \
            Shapes: \(ModelConfiguration.knownShapes.joined(separator: ", ")).

            EXAMPLES
              onebit bench packed
              onebit bench teacher --batch 1,2,4,8 --depth 0,2048
              onebit bench --shape llama-7b --threads 2 --repetitions 3
              onebit bench --shape llama-7b --keep /tmp/llama-7b-random --pp 128 --tg 32 --json
            """
    )

    @Argument(help: "A packed or a dense model: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation?

    @Option(
        help: ArgumentHelp("A published shape with random weights, packed, in place of a model.", valueName: "name"))
    var shape: String?

    @Option(help: ArgumentHelp("Where to write the random model and leave it.", valueName: "directory"))
    var keep: URL?

    @Option(help: ArgumentHelp("Tokens of the prompt; 0 leaves the test out.", valueName: "n"))
    var pp = 512

    @Option(help: ArgumentHelp("Tokens to generate; 0 leaves the test out.", valueName: "n"))
    var tg = 128

    @Option(
        help: ArgumentHelp("Sequences that are generated side by side, a test for each number.", valueName: "list"))
    var batch = NumberList([1])

    @Option(
        name: [.customShort("d"), .long],
        help: ArgumentHelp(
            "Tokens in the context before a test, each test once for each number.", valueName: "list"))
    var depth = NumberList([0])

    @Option(name: [.customShort("r"), .long], help: ArgumentHelp("Repetitions of each test.", valueName: "n"))
    var repetitions = 5

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption

    func validate() throws {
        guard (model == nil) != (shape == nil) else {
            throw ValidationError("Give a model or --shape, one of the two.")
        }
        guard keep == nil || shape != nil else { throw ValidationError("--keep goes with --shape.") }
        guard pp >= 0, tg >= 0, repetitions >= 1 else {
            throw ValidationError("--pp and --tg must be 0 or more, --repetitions 1 or more.")
        }
        guard pp > 0 || tg > 0 else { throw ValidationError("Give --pp or --tg something to measure.") }
        guard batch.numbers.allSatisfy({ (1...1024).contains($0) }) else {
            throw ValidationError("--batch must be numbers from 1 to 1024.")
        }
        guard depth.numbers.allSatisfy({ $0 >= 0 }) else {
            throw ValidationError("--depth must be numbers of 0 or more.")
        }
    }

    /// The tests, by depth.
    private var tests: [ModelBenchmark.Test] {
        depth.numbers.flatMap { depth in
            (pp > 0 ? [ModelBenchmark.Test(.prompt, tokens: pp, depth: depth)] : [])
                + (tg > 0
                    ? batch.numbers.map { .init(.generation, tokens: tg, sequences: $0, depth: depth) } : [])
        }
    }

    mutating func locateModels() async throws { try await model?.locate() }

    func run() throws {
        let random = try shape.map { try RandomModel(shape: $0, keep: keep) }
        defer { random?.remove() }
        let directory = random?.directory ?? model!.url
        let report = try measure(directory, name: shape ?? ModelName(of: directory).short)
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
        for test in tests where test.positions > longest {
            throw ValidationError("\(test.name) does not fit into the model's context of \(longest).")
        }
        // Once for the kernels' order of the signs and the files in memory; the time that counts is that of every later load.
        _ = try BenchmarkedModel(checkpoint, options: options)
        let clock = ContinuousClock()
        let start = clock.now
        let model = try BenchmarkedModel(options.checkpoints.reopen(directory), options: options)
        let loaded = clock.now
        _ = try model.model.logits(of: [0])
        let firstToken = clock.now
        let peakBytes = PeakMemory.bytes

        var bandwidths = [try model.benchmark.readBandwidth()]
        let results = try tests.map { try model.benchmark.run($0, repetitions: repetitions) }
        if tg > 0 { bandwidths.append(try model.benchmark.readBandwidth()) }
        return BenchReport(
            name: name, checkpoint: checkpoint, model: model,
            loadSeconds: (loaded - start) / .seconds(1), firstTokenSeconds: (firstToken - start) / .seconds(1),
            loadPeakBytes: peakBytes, bandwidth: bandwidths.reduce(0, +) / Double(bandwidths.count), results: results)
    }
}

/// A model on the CPU and what a report says of it.
private struct BenchmarkedModel {
    let model: any CausalLanguageModel
    let benchmark: ModelBenchmark
    let bytesPerToken: Int
    let threads: Int
    /// Bits of the layers' inputs; nil where a dense model's are not rounded.
    let inputBits: Int?
    /// What a dense model's products are computed in.
    let arithmetic: String?
    /// The version of the kernels.
    let kernels: String

    /// - Throws: `CheckpointError` for a float student, which no kernels are for.
    init(_ checkpoint: Checkpoint, options: ModelOptions) throws {
        if checkpoint.kind == .dense {
            let model = try DenseModel(
                checkpoint: checkpoint, threads: options.threads.threads, inputPrecision: options.inputBits)
            (self.model, benchmark, bytesPerToken) = (model, ModelBenchmark(model), model.bytesPerToken)
            (threads, kernels) = (model.threads, model.kernels)
            (inputBits, arithmetic) = (options.inputBits?.rawValue, model.arithmetic.rawValue)
        } else {
            let model = try PackedModel(checkpoint: checkpoint, options: options.loadOptions)
            (self.model, benchmark, bytesPerToken) = (model, ModelBenchmark(model), model.bytesPerToken)
            (threads, kernels) = (model.threads, model.instructionSet.name)
            (inputBits, arithmetic) = (model.inputPrecision.rawValue, nil)
        }
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
        /// `pp` or `tg`
        let test: String
        let tokens: Int
        let sequences: Int
        let depth: Int
        let tokensPerSecond: Double
        let deviation: Double
        let samples: [Double]

        init(_ result: ModelBenchmark.Result) {
            name = result.test.name
            test = result.test.kind.rawValue
            tokens = result.test.tokens
            sequences = result.test.sequences
            depth = result.test.depth
            tokensPerSecond = result.tokensPerSecond
            deviation = result.deviation
            samples = result.samples
        }
    }

    let model: String
    /// `packed` or `dense`
    let kind: String
    let modelBytes: Int
    let parameters: Int
    let bytesPerToken: Int
    let threads: Int
    /// Nil where a dense model's inputs are not rounded.
    let inputBits: Int?
    /// Of a dense one.
    let arithmetic: String?
    let instructionSet: String
    let loadSeconds: Double
    let loadToFirstTokenSeconds: Double
    let loadPeakBytes: Int
    let peakBytes: Int
    /// Bytes per second.
    let readBandwidth: Double
    /// Share of the bandwidth that the generation of one sequence from an empty context reaches; nil without that test.
    let bandwidthShare: Double?
    let results: [Result]

    init(
        name: String, checkpoint: Checkpoint, model: BenchmarkedModel, loadSeconds: Double, firstTokenSeconds: Double,
        loadPeakBytes: Int, bandwidth: Double, results: [ModelBenchmark.Result]
    ) {
        self.model = name
        kind = checkpoint.kind.title
        modelBytes = checkpoint.byteCount
        parameters = checkpoint.configuration.parameterCount
        bytesPerToken = model.bytesPerToken
        threads = model.threads
        inputBits = model.inputBits
        arithmetic = model.arithmetic
        instructionSet = model.kernels
        self.loadSeconds = loadSeconds
        loadToFirstTokenSeconds = firstTokenSeconds
        self.loadPeakBytes = loadPeakBytes
        peakBytes = PeakMemory.bytes
        readBandwidth = bandwidth
        self.results = results.map(Result.init)
        let generation = results.first {
            $0.test.kind == .generation && $0.test.sequences == 1 && $0.test.depth == 0
        }
        bandwidthShare = generation.map { $0.tokensPerSecond * Double(model.bytesPerToken) / bandwidth }
    }

    var text: String {
        var table = TextTable([
            .text("model"), .figure("size"), .figure("params"), .figure("threads"), .figure("inputs"), .text("kernels"),
            .text("test"), .figure("t/s"),
        ])
        for result in results {
            table.append([
                model, Quantity.bytes(modelBytes), Quantity.count(parameters), "\(threads)",
                inputBits.map { "\($0) bit" } ?? arithmetic ?? "", instructionSet, result.name,
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
