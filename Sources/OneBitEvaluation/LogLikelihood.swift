import Foundation

/// −Σ_t log softmax(logits_t)[target_t] in nats: row t of `logits` predicts the t-th of `targets`; further rows are not
/// looked at.
///
/// log Σ exp is taken relative to the row's largest logit: exponentials in single precision, as the logits are, and sums
/// in double.
func negativeLogLikelihood(logits: [Float], vocabulary: Int, targets: some Collection<Int>) -> Double {
    logits.withUnsafeBufferPointer { logits in
        var sum = 0.0
        for (row, target) in targets.enumerated() {
            let values = logits[row * vocabulary..<(row + 1) * vocabulary]
            sum += logSumOfExponentials(values) - Double(values[values.startIndex + target])
        }
        return sum
    }
}

private func logSumOfExponentials(_ values: Slice<UnsafeBufferPointer<Float>>) -> Double {
    let largest = values.reduce(-Float.infinity, max)
    guard largest.isFinite else { return Double(largest) }
    var sum = 0.0
    for value in values { sum += Double(exp(value - largest)) }
    return Double(largest) + log(sum)
}
