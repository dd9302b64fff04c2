// OneBitEvaluation: perplexity, comparison and zero-shot tasks over any language model. May import LanguageModel and
// Tokenization; links no kernels.

import Foundation
import LanguageModel

/// Perplexity of texts under a model:
///
///     perplexity = exp( −1/n Σ_t log P(x_t | the tokens before x_t in its window) )
///
/// over the n tokens that the windows' protocol scores.
public struct Perplexity: Sendable {
    /// How texts are cut into windows.
    public let plan: WindowPlan
    /// Windows that a model is given at once. The figure does not depend on it, but for rounding.
    public let batchSize: Int

    public init(_ plan: WindowPlan, batchSize: Int = 1) {
        self.plan = plan
        self.batchSize = max(1, batchSize)
    }

    /// Evaluates a model on a text.
    ///
    /// - Parameters:
    ///   - model: the model that predicts.
    ///   - text: what it predicts.
    ///   - progress: called after every batch with the result so far; may throw to end the evaluation.
    /// - Throws: ``WindowError``, what the model and `progress` throw, and `CancellationError` when the task that it runs
    ///   in is cancelled.
    public func evaluate(
        _ model: any CausalLanguageModel,
        text: TokenizedText,
        progress: (_ soFar: PerplexityResult) throws -> Void = { _ in }
    ) throws -> PerplexityResult {
        let windows = try plan.windows(of: text, maximum: model.configuration.maximumPositions)
        var result = PerplexityResult(text: text, plan: plan)
        for first in stride(from: 0, to: windows.count, by: batchSize) {
            try Task.checkCancellation()
            let batch = windows[first..<min(first + batchSize, windows.count)]
            let scores = try model.scores(
                of: batch.map { sequence, window in
                    let (context, scored) = text.tokens(of: window, in: sequence)
                    return ContinuationRequest(context: context, continuations: [Array(scored)])
                })
            for ((_, window), score) in zip(batch, scores) {
                result.add(window, logLikelihood: score[0].logLikelihood)
            }
            try progress(result)
        }
        result.close(text)
        return result
    }
}

/// A perplexity and what it was computed from.
public struct PerplexityResult: Sendable, Hashable {
    /// What the text is called.
    public let text: String
    /// How it was cut.
    public let plan: WindowPlan
    /// Tokens of the text, beginning-of-sequence tokens and what the protocol drops included.
    public private(set) var tokensInText: Int
    /// Tokens in the windows evaluated; where windows overlap, each counts in all of them.
    public private(set) var tokensInWindows = 0
    /// −log P of the tokens scored, in nats.
    public private(set) var negativeLogLikelihood = ClusteredMean()
    /// How much text the scored tokens are, where they are all of it and nothing else.
    public private(set) var extent: TextExtent?

    init(text: TokenizedText, plan: WindowPlan) {
        self.text = text.name
        self.plan = plan
        tokensInText = text.tokenCount
    }

    mutating func add(_ window: TokenWindow, logLikelihood: Double) {
        tokensInWindows += window.range.count
        negativeLogLikelihood.add(sum: -logLikelihood, count: window.scoredCount)
    }

    /// After the last window.
    mutating func close(_ text: TokenizedText) {
        extent = negativeLogLikelihood.count == text.textTokenCount ? text.extent : nil
    }

    /// Several texts as one: every token counts the same.
    ///
    /// - Returns: nil without results.
    public static func joint(_ results: [PerplexityResult]) -> PerplexityResult? {
        guard let first = results.first else { return nil }
        return results.dropFirst().reduce(first) { PerplexityResult(joining: $0, $1) }
    }

    private init(joining one: PerplexityResult, _ other: PerplexityResult) {
        text = "\(one.text) + \(other.text)"
        plan = one.plan
        tokensInText = one.tokensInText + other.tokensInText
        tokensInWindows = one.tokensInWindows + other.tokensInWindows
        negativeLogLikelihood = one.negativeLogLikelihood
        negativeLogLikelihood.add(other.negativeLogLikelihood)
        if let first = one.extent, let second = other.extent { extent = first + second }
    }

    /// Windows evaluated.
    public var windows: Int { negativeLogLikelihood.clusters }
    /// Tokens that were predicted.
    public var tokensScored: Int { negativeLogLikelihood.count }

    /// Per token: exp of the mean negative log-likelihood.
    public var perplexity: Double { exp(negativeLogLikelihood.mean) }
    /// Of the perplexity: that of the mean negative log-likelihood, times the perplexity.
    public var standardError: Double? { negativeLogLikelihood.standardError.map { $0 * perplexity } }
    /// exp( −log P(text) / words ).
    public var wordPerplexity: Double? { extent.map { exp(negativeLogLikelihood.sum / Double($0.words)) } }
    /// exp( −log P(text) / bytes ).
    public var bytePerplexity: Double? { extent.map { exp(negativeLogLikelihood.sum / Double($0.bytes)) } }
    /// −log₂ P(text) / bytes.
    public var bitsPerByte: Double? { extent.map { negativeLogLikelihood.sum / Double($0.bytes) / log(2) } }

    /// What ``perplexity`` means, to be printed with it.
    public static func definition(_ plan: WindowPlan) -> String {
        "perplexity per token: exp of the mean negative log-likelihood of the tokens predicted; \(plan.definition)"
    }
    /// What ``standardError`` means.
    public static let standardErrorDefinition =
        "standard error: of the mean over windows, whose tokens are taken together"
    /// What ``wordPerplexity`` means.
    public static let wordPerplexityDefinition =
        "perplexity per word: exp(−log P(text) / words), words being the pieces between runs of white space"
    /// What ``bytePerplexity`` means.
    public static let bytePerplexityDefinition = "perplexity per byte: exp(−log P(text) / bytes of UTF-8)"
    /// What ``bitsPerByte`` means.
    public static let bitsPerByteDefinition = "bits per byte: −log2 P(text) / bytes of UTF-8"
}
