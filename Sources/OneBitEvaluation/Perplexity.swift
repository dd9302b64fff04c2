import Foundation
import OneBitRuntime

/// Perplexity of a token sequence by the protocol of GPTQ and OneBit: the text is tokenised once, cut into windows of N
/// tokens that do not overlap, the tail dropped; a window's loss is the mean over its N − 1 predictions, times N:
///
///     perplexity = exp( Σ_windows N · mean_{t < N} −log P(x_{t+1} | x_1 … x_t) / (windows · N) )
public struct Perplexity: Sendable {
    /// Tokens per window.
    public let window: Int
    /// Most windows to evaluate, from the front; nil for all.
    public let windowLimit: Int?

    /// - Throws: ``PerplexityError/windowTooShort(window:)``, ``PerplexityError/invalidWindowLimit(limit:)``
    public init(window: Int, windowLimit: Int? = nil) throws {
        guard window >= 2 else { throw PerplexityError.windowTooShort(window: window) }
        if let windowLimit, windowLimit < 1 { throw PerplexityError.invalidWindowLimit(limit: windowLimit) }
        self.window = window
        self.windowLimit = windowLimit
    }

    /// What the figure means, to be printed with it.
    public var definition: String {
        "perplexity per token: text tokenised once, windows of \(window) tokens without overlap, tail dropped, "
            + "exp of the mean over windows of the mean negative log-likelihood of a window's \(window - 1) predictions"
    }

    /// Evaluates a model on `tokens`, the whole text, its BOS included where there is one.
    ///
    /// - Parameter progress: called after every window with the result so far and the number of windows in all; may
    ///   throw to end the evaluation.
    /// - Throws: ``PerplexityError``, and what the model and `progress` throw.
    public func evaluate(
        _ model: any CausalLanguageModel,
        tokens: [Int],
        progress: (_ soFar: PerplexityResult, _ windows: Int) throws -> Void = { _, _ in }
    ) throws -> PerplexityResult {
        let maximum = model.configuration.maximumPositions
        guard window <= maximum else { throw PerplexityError.windowTooLong(window: window, maximum: maximum) }
        let windows = min(tokens.count / window, windowLimit ?? .max)
        guard windows > 0 else { throw PerplexityError.textTooShort(tokens: tokens.count, window: window) }
        let vocabulary = model.configuration.vocabularySize
        var result = PerplexityResult(definition: definition, window: window, tokensInText: tokens.count)
        for index in 0..<windows {
            let part = Array(tokens[index * window..<(index + 1) * window])
            let logits = try model.logits(of: part)
            let sum = negativeLogLikelihood(logits: logits, vocabulary: vocabulary, targets: part.dropFirst())
            result.add(windowMean: sum / Double(window - 1))
            try progress(result, windows)
        }
        return result
    }
}

/// A perplexity and what it was computed from.
public struct PerplexityResult: Sendable, Codable, Equatable {
    /// What the figure means.
    public let definition: String
    /// Tokens per window.
    public let window: Int
    /// Tokens of the text, the dropped tail included.
    public let tokensInText: Int
    /// Windows evaluated.
    public private(set) var windows = 0
    /// Σ over windows of the mean negative log-likelihood of their predictions, in nats.
    private var sumOfWindowMeans = 0.0

    init(definition: String, window: Int, tokensInText: Int) {
        self.definition = definition
        self.window = window
        self.tokensInText = tokensInText
    }

    /// Tokens in the windows evaluated.
    public var tokens: Int { windows * window }
    /// Mean negative log-likelihood in nats per token.
    public var meanNegativeLogLikelihood: Double { windows == 0 ? .nan : sumOfWindowMeans / Double(windows) }
    /// Its exponential.
    public var perplexity: Double { exp(meanNegativeLogLikelihood) }

    mutating func add(windowMean: Double) {
        windows += 1
        sumOfWindowMeans += windowMean
    }
}
