import Foundation
import JSON
import ModelDescription
import SignDecomposition
import Synchronization
import TensorFiles
import Tokenization
import Torch

/// How the teacher writes its corpus (paper §3.4, after LLM-QAT, Liu et al. 2023).
public struct SynthesisSettings: Sendable, Hashable, Codable {
    /// Where a sample's first token comes from. BOS is read before it where the tokenizer has one.
    public enum FirstToken: String, Sendable, Codable, CaseIterable {
        /// Uniform over the vocabulary, the next few greedy: the paper's procedure, which covers the vocabulary.
        case uniform
        /// Drawn from the model's own distribution behind BOS, nothing greedy: covers what the model itself would say.
        case model
    }

    /// Samples to write.
    public var samples: Int
    /// Most tokens of a sample.
    public var maximumLength: Int
    /// Samples written side by side; part of the procedure, for it decides which random numbers go where.
    public var batchSize: Int
    public var firstToken: FirstToken
    /// Tokens behind a uniform first one that are taken greedily; drawn per sample.
    public var greedyTokens: ClosedRange<Int>
    public var seed: UInt64

    public init(
        samples: Int, maximumLength: Int, batchSize: Int = 128, firstToken: FirstToken = .uniform,
        greedyTokens: ClosedRange<Int> = 3...5, seed: UInt64
    ) {
        self.samples = samples
        self.maximumLength = maximumLength
        self.batchSize = batchSize
        self.firstToken = firstToken
        self.greedyTokens = greedyTokens
        self.seed = seed
    }

    /// Settings that suit a teacher: samples of up to 2,048 tokens or its context, 128 side by side, or as many as keep
    /// keys and values below 2 GiB when all of them reach their full length.
    public init(
        samples: Int, firstToken: FirstToken, for teacher: ModelConfiguration, maximumLength: Int? = nil,
        batchSize: Int? = nil, seed: UInt64
    ) {
        let length = maximumLength ?? min(2048, teacher.maximumPositions - 1)
        let sampleBytes =
            teacher.layerCount * 2 * teacher.keyValueHeadCount * teacher.headSize * MemoryLayout<Float>.size
            * max(1, length + 1)
        self.init(
            samples: samples, maximumLength: length,
            batchSize: batchSize ?? min(128, max(1, Self.cacheByteLimit / sampleBytes)), firstToken: firstToken,
            seed: seed)
    }

    private static let cacheByteLimit = 2 << 30

    func validate(context: Int) throws {
        func require(_ holds: Bool, _ name: String, _ value: Int, _ expected: String) throws {
            if !holds { throw TrainingError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        try require(samples > 0, "samples", samples, "a positive number")
        try require(batchSize > 0, "batch size", batchSize, "a positive number")
        try require(
            maximumLength > 0 && maximumLength < context, "maximum length", maximumLength,
            "1 or more and below the model's context of \(context), which holds BOS too")
    }
}

/// Lets the teacher write the corpus that it will be distilled on.
///
/// Samples go to `corpus.jsonl.partial` batch by batch; the file gets its name when it is whole. A killed or cancelled run
/// leaves the partial file, and a resumed one drops what is not a whole batch and goes on with the same samples as an
/// unbroken run.
public struct CorpusSynthesizer {
    private let batch: SampleBatch
    private let tokenizer: any Tokenizer
    private let settings: SynthesisSettings
    private let collective: Collective
    private let identity: RunIdentity

    /// - Parameters:
    ///   - model: Who writes.
    ///   - tokenizer: The model's, which makes text of the tokens.
    ///   - settings: How many samples, how long, and how they begin.
    ///   - teacher: Digest of the model, so that a run is not resumed with another.
    ///   - threads: Threads in all; as many as there are cores where nil.
    /// - Throws: ``TrainingError/invalidSetting(name:value:expected:)``.
    public init(
        model: Transformer, tokenizer: any Tokenizer, settings: SynthesisSettings, teacher: ContentDigest? = nil,
        threads: Int? = nil
    ) throws {
        let configuration = model.configuration
        collective = Collective(threads: threads, parameters: configuration.parameterCount)
        try settings.validate(context: configuration.maximumPositions)
        self.settings = settings
        self.tokenizer = tokenizer
        identity = try RunIdentity(settings, inputs: teacher.map { ["teacher": $0] } ?? [:])
        batch = SampleBatch(
            model: model,
            settings: settings,
            beginOfSequence: tokenizer.beginOfSequence ?? configuration.beginOfSequence,
            stops: Set(configuration.endOfSequence),
            // Rows that pad a model's table are no tokens to begin with.
            firstTokens: min(tokenizer.vocabularySize, configuration.vocabularySize)
        )
    }

    /// How far a run is.
    public struct Progress: Sendable {
        /// Samples that are complete, those of earlier runs included. Those of the batches in progress are counted though
        /// they are not written yet.
        public var samples: Int
        /// Tokens drawn by this run.
        public var tokens: Int
    }

    /// - Parameters:
    ///   - output: The corpus file.
    ///   - resumes: Whether to go on from a partial file; one that is there is refused otherwise.
    ///   - overwrite: Whether a file that stands there is replaced, once the new one is whole.
    ///   - observe: Receives the progress after every token, from several threads; when it throws, the batches so far stay
    ///     for a resumption.
    /// - Returns: Tokens written by this run.
    /// - Throws: ``TrainingError``, `FileError`; `CancellationError` within a token, with the whole batches kept.
    @discardableResult
    public func write(
        to output: URL, resumes: Bool, overwrite: Bool = false, observe: @Sendable (Progress) throws -> Void
    ) throws -> Int {
        try requireReplaceable(output, overwrite: overwrite)
        let partial = output.appendingPathExtension("partial")
        let identityFile = output.appendingPathExtension("settings.json")
        var done = 0
        if FileManager.default.fileExists(atPath: partial.path) {
            guard resumes else { throw TrainingError.workExists(directory: partial) }
            try requireSameIdentity(in: identityFile)
            done = try keepWholeBatches(of: partial)
        } else {
            try writeAtomically(try JSONEncoder.sorted.encode(identity), to: identityFile)
            try writeAtomically(Data(), to: partial)
        }

        let handle = try FileHandle(forWritingTo: partial)
        defer { try? handle.close() }
        try handle.seekToEnd()
        let progress = Mutex(Progress(samples: done, tokens: 0))
        var tokens = 0
        while done < settings.samples {
            let batches = (0..<collective.workers).map { done + $0 * settings.batchSize }
                .filter { $0 < settings.samples }
                .map { $0..<min($0 + settings.batchSize, settings.samples) }
            let batch = batch
            let samples = try collective.map(batches.count) { index in
                try batch.write(batches[index]) { drawn, finished in
                    let now = progress.withLock { progress in
                        progress.tokens += drawn
                        progress.samples += finished
                        return progress
                    }
                    try observe(now)
                }
            }.joined()
            var lines = Data()
            for sample in samples {
                tokens += sample.count
                let text = tokenizer.decode(sample.filter { !batch.stops.contains($0) }, skipSpecialTokens: true)
                lines += try JSONEncoder.sorted.encode(CorpusLine(text: text, tokens: sample)) + Data("\n".utf8)
            }
            try handle.write(contentsOf: lines)
            try handle.synchronize()
            done += batches.reduce(0) { $0 + $1.count }
        }
        guard rename(partial.path, output.path) == 0 else {
            throw FileError.cannotWrite(
                file: output.path, neededBytes: nil, reason: String(cString: strerror(errno)))
        }
        try FileManager.default.removeItem(at: identityFile)
        return tokens
    }

    /// What stands at `output` must be a file that may be replaced: known now, and not after hours of work.
    private func requireReplaceable(_ output: URL, overwrite: Bool) throws {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: output.path, isDirectory: &isDirectory) else { return }
        guard overwrite else { throw FileError.destinationExists(path: output.path) }
        if isDirectory.boolValue { throw FileError.notARegularFile(file: output.path) }
    }

    private func requireSameIdentity(in file: URL) throws {
        let saved: RunIdentity
        do {
            saved = try JSONDecoder().decode(RunIdentity.self, from: Data(contentsOf: file))
        } catch {
            throw TrainingError.damagedTrainingCheckpoint(directory: file, reason: "\(error)")
        }
        try identity.requireSame(as: saved, in: file)
    }

    /// Cuts the partial file behind its last whole batch and returns the number of samples that stay.
    private func keepWholeBatches(of partial: URL) throws -> Int {
        let data = try Data(contentsOf: partial, options: .mappedIfSafe)
        let ends = data.indices.filter { data[$0] == UInt8(ascii: "\n") }
        let whole = ends.count / settings.batchSize * settings.batchSize
        let handle = try FileHandle(forWritingTo: partial)
        defer { try? handle.close() }
        try handle.truncate(atOffset: whole == 0 ? 0 : UInt64(ends[whole - 1] + 1))
        return whole
    }
}

/// One line of the corpus that a teacher writes.
struct CorpusLine: Codable {
    var text: String
    var tokens: [Int]
}

/// One batch of samples that the teacher writes side by side.
struct SampleBatch: Sendable {
    let model: Transformer
    let settings: SynthesisSettings
    /// Token read before the samples, if any.
    let beginOfSequence: Int?
    /// Tokens that end a sample.
    let stops: Set<Int>
    /// A uniform first token is below this.
    let firstTokens: Int

    /// Writes the samples with numbers `range`; they depend on the settings and these numbers alone.
    ///
    /// - Parameter observe: Receives, after every token, how many tokens were drawn and how many samples finished.
    /// - Returns: Tokens of each sample: without BOS, with the token that ended it.
    func write(
        _ range: Range<Int>, observe: (_ drawn: Int, _ finished: Int) throws -> Void = { _, _ in }
    ) throws -> [[Int]] {
        try withoutGradient {
            var random = SplitMix64(seed: settings.seed ^ (UInt64(range.lowerBound) &* 0xD1B5_4A32_D192_ED03))
            let generator = try Generator(seed: random.next())

            var samples = [[Int]](repeating: [], count: range.count)
            var greedy = [Int](repeating: 0, count: range.count)
            if settings.firstToken == .uniform || beginOfSequence == nil {
                for index in samples.indices {
                    samples[index] = [try firstToken(using: &random)]
                    greedy[index] = 1 + Int.random(in: settings.greedyTokens, using: &random)
                }
            }

            var active = Array(samples.indices)  // sample of each row of the cache
            let cache = try model.makeCache(batch: active.count, capacity: settings.maximumLength + 1)
            var next: [[Int]] = samples.map { (beginOfSequence.map { [$0] } ?? []) + $0 }
            while !active.isEmpty {
                let tokens = try Tensor.integers(
                    next.flatMap(\.self), shape: [next.count, next[0].count], device: model.device)
                let logits = try model.decode(tokens, cache: cache)
                let drawn = try logits.sampled(using: generator).integers()
                let best = active.contains { samples[$0].count < greedy[$0] } ? try logits.argmax().integers() : []

                var unfinished: [Int] = []  // rows that go on
                for (row, sample) in active.enumerated() {
                    let token = samples[sample].count < greedy[sample] ? best[row] : drawn[row]
                    samples[sample].append(token)
                    if !stops.contains(token), samples[sample].count < settings.maximumLength { unfinished.append(row) }
                }
                try observe(active.count, active.count - unfinished.count)
                if unfinished.count < active.count {
                    try cache.select(rows: unfinished)
                    active = unfinished.map { active[$0] }
                }
                next = active.map { [samples[$0][samples[$0].count - 1]] }
            }
            return samples
        }
    }

    /// Uniform over the vocabulary without BOS and the stop tokens, which would end the sample before it began.
    ///
    /// - Throws: ``TrainingError/invalidSetting(name:value:expected:)`` where nothing else is in the vocabulary.
    private func firstToken(using random: inout SplitMix64) throws -> Int {
        guard (0..<firstTokens).contains(where: { $0 != beginOfSequence && !stops.contains($0) }) else {
            throw TrainingError.invalidSetting(
                name: "vocabulary", value: "\(firstTokens) tokens", expected: "one at least that begins a text")
        }
        while true {
            let token = Int.random(in: 0..<firstTokens, using: &random)
            if token != beginOfSequence, !stops.contains(token) { return token }
        }
    }
}
