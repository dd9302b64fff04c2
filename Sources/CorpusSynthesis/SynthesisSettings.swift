import LanguageModel
import ModelDescription
import ResumableRuns

/// How the teacher writes its corpus (paper §3.4, after LLM-QAT, Liu et al. 2023): what is written, as opposed to
/// ``SynthesisLimits``.
public struct SynthesisSettings: Sendable, Hashable, Codable {
    /// Where a sample's first token comes from. BOS is read before it where the tokenizer has one.
    public enum FirstToken: String, Sendable, Codable, CaseIterable {
        /// Uniform over the vocabulary, the next few greedy: the paper's procedure, which covers the vocabulary.
        case uniform
        /// Drawn from the model's own distribution after BOS, nothing greedy: covers what the model itself would say.
        case model
    }

    /// Samples to write.
    public var samples: Int
    /// Most tokens of a sample.
    public var maximumLength: Int
    public var firstToken: FirstToken
    /// Tokens behind a uniform first one that are taken greedily; drawn per sample.
    public var greedyTokens: ClosedRange<Int>
    public var seed: UInt64

    public init(
        samples: Int, maximumLength: Int, firstToken: FirstToken = .uniform, greedyTokens: ClosedRange<Int> = 3...5,
        seed: UInt64
    ) {
        self.samples = samples
        self.maximumLength = maximumLength
        self.firstToken = firstToken
        self.greedyTokens = greedyTokens
        self.seed = seed
    }

    /// Settings that suit a teacher: samples of up to 2,048 tokens, or as many as its context has room for after BOS.
    public init(
        samples: Int, firstToken: FirstToken, for teacher: ModelConfiguration, maximumLength: Int? = nil, seed: UInt64
    ) {
        self.init(
            samples: samples, maximumLength: maximumLength ?? min(2048, teacher.maximumPositions - 1),
            firstToken: firstToken, seed: seed)
    }

    /// The paper's: 132,000 samples behind a uniform first token (§4.1).
    public static func paper(for teacher: ModelConfiguration, seed: UInt64) -> SynthesisSettings {
        SynthesisSettings(samples: paperSamples, firstToken: .uniform, for: teacher, seed: seed)
    }

    /// The best that this project has measured (dev/LOG.md): half a token of text for each parameter, a quarter of what
    /// is trained on, but 2,000 samples at least and no more than the paper's.
    public static func `default`(for teacher: ModelConfiguration, seed: UInt64) -> SynthesisSettings {
        let samples = teacher.parameterCount / (2 * min(2048, teacher.maximumPositions))
        return SynthesisSettings(
            samples: max(2000, min(paperSamples, samples)), firstToken: .model, for: teacher, seed: seed)
    }

    private static let paperSamples = 132_000

    /// Positions of a sequence: the sample and BOS.
    var positions: Int { maximumLength + 1 }

    func validate(context: Int) throws {
        func require(_ holds: Bool, _ name: String, _ value: Int, _ expected: String) throws {
            if !holds { throw RunError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        try require(samples > 0, "samples", samples, "a positive number")
        try require(
            maximumLength > 0 && maximumLength < context, "maximum length", maximumLength,
            "1 or more and below the model's context of \(context), which holds BOS too")
    }
}

/// How much a synthesis takes on at a time. The corpus does not depend on it.
public struct SynthesisLimits: Sendable, Hashable {
    /// Most samples written side by side; nil is 64, beyond which a pass gets no more efficient.
    public var rows: Int?
    /// Most bytes of keys and values; nil is a quarter of the memory that is left, but no more than 1 GiB or half of the
    /// bytes of the model's weights in 16 bits, whichever is more.
    public var cacheBytes: Int?

    public init(rows: Int? = nil, cacheBytes: Int? = nil) {
        self.rows = rows
        self.cacheBytes = cacheBytes
    }

    private static let defaultRows = 64
    private static let defaultCacheBytes = 1 << 30

    /// What a plan counts for the memory of a synthesis at most: weights in 16 bits, keys and values of the samples under
    /// way, and the rest of the process.
    public static func byteCount(of model: ModelConfiguration, settings: SynthesisSettings) -> Int {
        let row = 4 * model.layerCount * model.keyValueHeadCount * model.headSize * settings.positions
        let cache = min(max(defaultCacheBytes, model.parameterCount), min(defaultRows, settings.samples) * row)
        return 2 * model.parameterCount + max(row, cache) + (128 << 20)
    }

    /// Bytes that a token takes in the corpus's lines: its text and its id.
    public static let corpusBytesPerToken = 11

    /// What generation takes on: as many rows as keys and values of full length fit into the budget, one at least.
    ///
    /// - Throws: `RunError.invalidSetting` for a budget that was asked for and has no room for
    ///   one sample; `LanguageModelError.notEnoughMemory(needed:available:purpose:)`.
    func generationLimits(
        for model: any CausalLanguageModel, settings: SynthesisSettings
    ) throws -> GenerationLimits {
        if let rows, rows < 1 {
            throw RunError.invalidSetting(name: "rows", value: "\(rows)", expected: "1 or more")
        }
        let rowBytes = max(1, model.cacheByteCount(positions: settings.positions))
        if let cacheBytes, cacheBytes < rowBytes {
            throw RunError.invalidSetting(
                name: "memory of keys and values", value: "\(cacheBytes) bytes",
                expected: "\(rowBytes) or more, what one sample of \(settings.maximumLength) tokens takes")
        }
        let most = max(Self.defaultCacheBytes, model.configuration.parameterCount)
        let budget = cacheBytes ?? max(rowBytes, min((AvailableMemory.bytesAvailable ?? .max) / 4, most))
        let fitting = min(rows ?? Self.defaultRows, settings.samples, budget / rowBytes)
        try AvailableMemory.require(
            fitting * rowBytes, for: "The keys and values of \(fitting) samples of \(settings.maximumLength) tokens")
        return GenerationLimits(sequences: fitting, positions: settings.positions, cacheBytes: budget)
    }
}
