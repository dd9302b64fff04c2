/// A context and what may follow it: a question and its answers, or a window of a text behind its first tokens.
public struct ContinuationRequest: Sendable, Hashable {
    /// What the model reads first; at least one token.
    public var context: [Int]
    /// What may follow, each at least one token and scored as if it alone followed.
    public var continuations: [[Int]]

    public init(context: [Int], continuations: [[Int]]) {
        self.context = context
        self.continuations = continuations
    }
}

/// How likely a model finds a continuation.
public struct ContinuationScore: Sendable, Hashable {
    /// Σ_i log P(t_i | context, t_1 … t_{i−1}) in nats.
    public let logLikelihood: Double
    /// Whether every token of it is the likeliest at its place: whether greedy decoding writes it.
    public let isGreedy: Bool

    public init(logLikelihood: Double, isGreedy: Bool) {
        self.logLikelihood = logLikelihood
        self.isGreedy = isGreedy
    }

    /// - Parameter logits: row i [vocabulary] predicts token i of `continuation`; further rows are not looked at.
    public init(logits: UnsafeBufferPointer<Float>, vocabulary: Int, continuation: some Collection<Int>) {
        var sum = 0.0
        var isGreedy = true
        for (row, target) in continuation.enumerated() {
            let prediction = TokenPrediction(
                logits: UnsafeBufferPointer(rebasing: logits[row * vocabulary..<(row + 1) * vocabulary]),
                target: target)
            sum += prediction.logProbability
            isGreedy = isGreedy && prediction.isLikeliest
        }
        self.init(logLikelihood: sum, isGreedy: isGreedy)
    }
}

extension CausalLanguageModel {
    /// One pass per continuation. Models that can read a context once for all of its continuations have their own way.
    public func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        try requests.map { request in
            try check(request)
            return try request.continuations.map { continuation in
                let logits = try logits(of: request.context + continuation.dropLast())
                let vocabulary = configuration.vocabularySize
                return logits.withUnsafeBufferPointer {
                    ContinuationScore(
                        logits: UnsafeBufferPointer(rebasing: $0[((request.context.count - 1) * vocabulary)...]),
                        vocabulary: vocabulary, continuation: continuation)
                }
            }
        }
    }

    /// Checks that a request can be scored: tokens of the vocabulary, none of the parts empty, and within the context,
    /// which a continuation's last token needs no place in.
    ///
    /// - Throws: ``RuntimeError``
    public func check(_ request: ContinuationRequest) throws {
        try check(request.context)
        for continuation in request.continuations {
            guard let last = continuation.last else { throw RuntimeError.noTokens }
            try check([last])
            guard continuation.count > 1 else { continue }
            try check(Array(continuation.dropLast()), at: request.context.count)
        }
    }
}
