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
    /// - Throws: ``WindowError``, and what the model and `progress` throw.
    public func evaluate(
        _ model: any CausalLanguageModel,
        text: TokenizedText,
        progress: (_ soFar: PerplexityResult) throws -> Void = { _ in }
    ) throws -> PerplexityResult {
        let windows = try plan.windows(of: text, maximum: model.configuration.maximumPositions)
        var result = PerplexityResult(text: text, plan: plan)
        for first in stride(from: 0, to: windows.count, by: batchSize) {
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
