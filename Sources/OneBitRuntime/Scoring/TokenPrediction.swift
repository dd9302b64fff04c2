import Foundation

/// What one row of logits says of the token that came.
public struct TokenPrediction: Sendable, Hashable {
    /// log softmax(logits)[target] in nats.
    public let logProbability: Double
    /// Whether no other token's logit is larger; of equal ones the first counts as the largest.
    public let isLikeliest: Bool

    /// Exponentials are taken relative to the largest logit, in single precision as the logits are, and summed in
    /// double.
    public init(logits: UnsafeBufferPointer<Float>, target: Int) {
        var largest = -Float.infinity
        var likeliest = 0
        for (token, value) in logits.enumerated() where value > largest {
            largest = value
            likeliest = token
        }
        var sum = 0.0
        for value in logits { sum += Double(exp(value - largest)) }
        logProbability = Double(logits[target]) - Double(largest) - log(sum)
        isLikeliest = likeliest == target
    }
}
