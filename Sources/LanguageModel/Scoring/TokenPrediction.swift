import Foundation

/// What one row of logits says of the token that came.
public struct TokenPrediction: Sendable, Hashable {
    /// log softmax(logits)[target] in nats.
    public let logProbability: Double
    /// Whether no other token's logit is larger; of equal ones the first counts as the largest.
    public let isLikeliest: Bool

    public init(logProbability: Double, isLikeliest: Bool) {
        self.logProbability = logProbability
        self.isLikeliest = isLikeliest
    }

    /// What a row [vocabulary] says of one token.
    public init(logits: UnsafeBufferPointer<Float>, target: Int) {
        self = Self.all(logits: logits, targets: [target])[0]
    }

    /// What a row [vocabulary] says of each of several tokens.
    ///
    /// Exponentials are taken relative to the largest logit, in single precision as the logits are, and summed in double.
    public static func all(logits: UnsafeBufferPointer<Float>, targets: [Int]) -> [TokenPrediction] {
        var largest = -Float.infinity
        var likeliest = 0
        for (token, value) in logits.enumerated() where value > largest {
            largest = value
            likeliest = token
        }
        var sum = 0.0
        for value in logits { sum += Double(exp(value - largest)) }
        let logSum = Double(largest) + log(sum)
        return targets.map {
            TokenPrediction(logProbability: Double(logits[$0]) - logSum, isLikeliest: likeliest == $0)
        }
    }
}
