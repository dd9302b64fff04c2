/// How likely a model found a token at its place, and which tokens it found likeliest there. Of the model's own distribution,
/// before temperature, penalties and filters.
package struct TokenDetail: Sendable, Hashable {
    package struct Candidate: Sendable, Hashable {
        package let token: Int
        /// log softmax(logits)[token] in nats.
        package let logProbability: Double
    }

    package let chosen: Candidate
    /// The likeliest ones, the first the likeliest; equals by their ids. As many as were asked for.
    package let likeliest: [Candidate]

    /// - Parameters:
    ///   - token: the token that was chosen, or that the prompt has there.
    ///   - row: of the context's last batch: what it predicts.
    ///   - count: how many of the likeliest ones.
    init(token: Int, row: Int, of context: any DecodingContext, count: Int) throws {
        let likeliest = try context.withLogits(row: row) { Self.likeliest(count, of: $0) }
        // By the context's own arithmetic, which scoring uses too: the same numbers to the bit.
        let predictions = try context.predictions(row: row, targets: [token] + likeliest)
        chosen = Candidate(token: token, logProbability: predictions[0].logProbability)
        self.likeliest = zip(likeliest, predictions.dropFirst()).map {
            Candidate(token: $0, logProbability: $1.logProbability)
        }
    }

    /// The ids of the `count` largest logits. NaN is none of them.
    private static func likeliest(_ count: Int, of logits: UnsafeBufferPointer<Float>) -> [Int] {
        guard count > 0 else { return [] }
        var best: [Int] = []
        best.reserveCapacity(count + 1)
        var least = -Float.infinity
        for token in logits.indices where best.count < count || logits[token] > least {
            guard !logits[token].isNaN else { continue }
            let place = best.firstIndex { logits[$0] < logits[token] } ?? best.count
            best.insert(token, at: place)
            if best.count > count { best.removeLast() }
            if best.count == count { least = logits[best[count - 1]] }
        }
        return best
    }
}

/// What is told of a text's tokens, besides the text.
package enum GenerationDetail: Sendable {
    /// Some of the prompt's tokens, in order, from the second on: nothing predicts the first.
    case prompt([TokenDetail])
    /// The next token of the text, the one that ends it included.
    case token(TokenDetail)
}
