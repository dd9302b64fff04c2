import ResumableRuns

/// How long, and on how much at a time, a model is trained.
public struct TrainingBudget: Sendable, Hashable, Codable {
    /// The length of a run.
    public enum Length: Sendable, Hashable {
        /// Optimizer steps.
        case steps(Int)
        /// Passes over the corpus.
        case epochs(Double)
    }

    public var length: Length
    /// Sequences per step.
    public var batchSize: Int
    /// Tokens per sequence.
    public var sequenceLength: Int

    public init(length: Length, batchSize: Int, sequenceLength: Int) {
        self.length = length
        self.batchSize = batchSize
        self.sequenceLength = sequenceLength
    }

    /// Tokens per optimizer step.
    public var tokensPerStep: Int { batchSize * sequenceLength }

    /// - Parameter context: Positions that the model knows.
    /// - Throws: `RunError.invalidSetting`.
    public func validate(context: Int) throws {
        func require(_ holds: Bool, _ name: String, _ value: Int, _ expected: String) throws {
            if !holds { throw RunError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        if case .steps(let steps) = length { try require(steps > 0, "steps", steps, "a positive number") }
        try require(batchSize > 0, "batch size", batchSize, "a positive number")
        try require(sequenceLength > 1, "sequence length", sequenceLength, "2 tokens or more")
        try require(
            sequenceLength <= context, "sequence length", sequenceLength, "at most the model's context of \(context)")
    }

    /// Optimizer steps over a corpus of so many tokens.
    public func steps(corpusTokens: Int) -> Int {
        switch length {
        case .steps(let steps): steps
        case .epochs(let epochs):
            max(1, Int((Double(corpusTokens) * epochs / Double(tokensPerStep)).rounded(.up)))
        }
    }
}

extension TrainingBudget.Length: Codable {
    private enum CodingKeys: CodingKey { case steps, epochs }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        if let steps = try container.decodeIfPresent(Int.self, forKey: .steps) {
            self = .steps(steps)
        } else {
            self = .epochs(try container.decode(Double.self, forKey: .epochs))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .steps(let steps): try container.encode(steps, forKey: .steps)
        case .epochs(let epochs): try container.encode(epochs, forKey: .epochs)
        }
    }
}
