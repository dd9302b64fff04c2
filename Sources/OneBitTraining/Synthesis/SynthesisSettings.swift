/// How the teacher writes its corpus (paper §3.4, after LLM-QAT, Liu et al. 2023).
public struct SynthesisSettings: Sendable, Hashable, Codable {
    /// Where a sample's first token comes from. BOS is fed before it where the tokenizer has one.
    public enum FirstToken: String, Sendable, Codable, CaseIterable {
        /// Uniform over the vocabulary, the next few greedy: the paper's procedure, which covers the vocabulary.
        case uniform
        /// Drawn from the model's own distribution behind BOS, nothing greedy: covers what the model itself would say.
        case model
    }

    /// Samples to write.
    public var samples: Int
    /// Tokens per sample at the most.
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
