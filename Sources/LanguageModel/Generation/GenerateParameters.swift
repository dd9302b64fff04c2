/// How a text is continued.
public struct GenerateParameters: Sendable, Hashable {
    /// Most tokens to generate; nil is as many as the context has room for.
    public var maxTokens: Int?
    /// Divides the logits before the softmax; 0 takes the likeliest token (greedy).
    public var temperature: Float
    /// Keeps the k likeliest tokens; 0 keeps all.
    public var topK: Int
    /// Keeps the likeliest tokens that together have this probability; 1 keeps all.
    public var topP: Float
    /// Keeps the tokens at least this many times as likely as the likeliest; 0 keeps all.
    public var minP: Float
    /// Makes recent tokens less likely: a positive logit is divided by it, a negative one multiplied.
    /// 1 changes nothing.
    public var repetitionPenalty: Float
    /// How many of the last tokens, the prompt's included, are recent.
    public var repetitionContextSize: Int
    /// Taken from a token's logit for each time that the text has it already; the prompt does not count.
    public var frequencyPenalty: Float
    /// Taken from a token's logit once, where the text has it already.
    public var presencePenalty: Float
    /// Added to the logits of these tokens.
    public var logitBias: [Int: Float]
    /// Seed of the random numbers: the same seed, model and prompt give the same text on every machine.
    public var seed: UInt64
    /// Strings that end the text; they are not part of it.
    public var stopStrings: [String]

    public init(
        maxTokens: Int? = nil,
        temperature: Float = 0.8,
        topK: Int = 0,
        topP: Float = 0.95,
        minP: Float = 0,
        repetitionPenalty: Float = 1,
        repetitionContextSize: Int = 64,
        frequencyPenalty: Float = 0,
        presencePenalty: Float = 0,
        logitBias: [Int: Float] = [:],
        seed: UInt64 = 0,
        stopStrings: [String] = []
    ) {
        self.maxTokens = maxTokens
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.repetitionContextSize = repetitionContextSize
        self.frequencyPenalty = frequencyPenalty
        self.presencePenalty = presencePenalty
        self.logitBias = logitBias
        self.seed = seed
        self.stopStrings = stopStrings
    }

    /// The likeliest token every time.
    public static let greedy = GenerateParameters(temperature: 0)

    /// Whether every token of the vocabulary may be drawn.
    var keepsAll: Bool { topK == 0 && topP == 1 && minP == 0 }

    /// Whether logits are drawn from as they are.
    var keepsLogits: Bool {
        repetitionPenalty == 1 && frequencyPenalty == 0 && presencePenalty == 0 && logitBias.isEmpty
    }

    /// Positions for a prompt and the most tokens that may follow it, at most `maximum`.
    func capacity(after promptTokenCount: Int, maximum: Int) -> Int {
        let sum = promptTokenCount.addingReportingOverflow(maxTokens ?? maximum)
        return sum.overflow ? maximum : min(sum.partialValue, maximum)
    }

    /// - Throws: ``GenerationError/invalidParameter(name:value:expected:)`` for a number that means nothing.
    func validate() throws {
        func require(_ condition: Bool, _ name: String, _ value: some CustomStringConvertible, _ expected: String)
            throws
        {
            guard condition else {
                throw GenerationError.invalidParameter(name: name, value: value.description, expected: expected)
            }
        }
        try require(maxTokens ?? 0 >= 0, "maxTokens", maxTokens ?? 0, "0 or more")
        try require(temperature >= 0 && temperature.isFinite, "temperature", temperature, "0 or more")
        try require(topK >= 0, "topK", topK, "0 or more")
        try require(topP > 0 && topP <= 1, "topP", topP, "above 0, at most 1")
        try require(minP >= 0 && minP <= 1, "minP", minP, "between 0 and 1")
        try require(
            repetitionPenalty > 0 && repetitionPenalty.isFinite,
            "repetitionPenalty",
            repetitionPenalty,
            "above 0"
        )
        try require(repetitionContextSize >= 0, "repetitionContextSize", repetitionContextSize, "0 or more")
        try require(frequencyPenalty.isFinite, "frequencyPenalty", frequencyPenalty, "a finite number")
        try require(presencePenalty.isFinite, "presencePenalty", presencePenalty, "a finite number")
        for (token, bias) in logitBias {
            try require(token >= 0 && !bias.isNaN, "logitBias", "\(token): \(bias)", "numbers for token ids")
        }
    }
}
