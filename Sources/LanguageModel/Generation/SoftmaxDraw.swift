import Foundation

/// Draws from the softmax of a whole vocabulary, unfiltered, in two passes over the logits: no sorting, no array of
/// candidates.
///
///     w_i = exp((l_i − max l) / temperature),  P(i) = w_i / Σ w
///
/// The weights are summed block by block; a draw looks for its block first and then for its token inside it. Only
/// additions and multiplications of floats, in a fixed order, are made of the logits: the same everywhere.
struct SoftmaxDraw: Sendable {
    private typealias Lanes = SIMD16<Float>
    private static let laneCount = 16
    private static let blockSize = 1024

    /// Σ w of each block. Kept from draw to draw.
    private var sums: [Double] = []

    /// The token at which the running sum of the probabilities exceeds `unit`, which is in 0 ..< 1. A NaN has no weight.
    ///
    /// - Parameters:
    ///   - logits: not empty.
    ///   - largest: the largest of them.
    ///   - inverse: 1 / temperature.
    /// - Returns: nil where all logits are NaN.
    mutating func token(
        _ logits: UnsafeBufferPointer<Float>, largest: Float, inverse: Float, unit: Double
    ) -> Int? {
        sums.removeAll(keepingCapacity: true)
        var total = 0.0
        for first in stride(from: 0, to: logits.count, by: Self.blockSize) {
            let end = min(first + Self.blockSize, logits.count)
            var sum = Lanes.zero
            for index in stride(from: first, to: end, by: Self.laneCount) {
                sum += Self.weights(logits, index, largest: largest, inverse: inverse)
            }
            sums.append(Double(sum.sum()))
            total += sums[sums.count - 1]
        }
        var rest = unit * total
        var last: Int?
        for (block, sum) in sums.enumerated() where sum > 0 {
            // By rounding, the sums may end a little below the total: then the last token that has a weight is it.
            if rest >= sum, sums[(block + 1)...].contains(where: { $0 > 0 }) {
                rest -= sum
                continue
            }
            let first = block * Self.blockSize
            for index in stride(from: first, to: min(first + Self.blockSize, logits.count), by: Self.laneCount) {
                let weights = Self.weights(logits, index, largest: largest, inverse: inverse)
                for lane in 0..<Self.laneCount where weights[lane] > 0 {
                    last = index + lane
                    rest -= Double(weights[lane])
                    if rest < 0 { return last }
                }
            }
            return last
        }
        return last
    }

    /// w of 16 tokens; those beyond the last, NaN and what is e⁸⁷ times less likely than the likeliest have none.
    @inline(__always)
    private static func weights(
        _ logits: UnsafeBufferPointer<Float>, _ index: Int, largest: Float, inverse: Float
    ) -> Lanes {
        let least: Float = -87
        var values = Lanes(repeating: -.infinity)
        if index + laneCount <= logits.count {
            values = UnsafeRawPointer(logits.baseAddress! + index).loadUnaligned(as: Lanes.self)
        } else {
            for lane in 0..<logits.count - index { values[lane] = logits[index + lane] }
        }
        let x = (values - largest) * inverse
        let counts = x .>= least
        return exponential(x.replacing(with: 0, where: .!counts)).replacing(with: 0, where: .!counts)
    }

    /// exp(x) for −87 ≤ x ≤ 0 within 2 units in the last place. Cephes' scheme: x = n ln 2 + r, exp x = 2ⁿ exp r.
    @inline(__always)
    private static func exponential(_ x: Lanes) -> Lanes {
        // Adding and taking away 1.5 · 2²³ rounds to an integer.
        let rounding: Float = 12_582_912
        let shifted = x * 1.44269504 + rounding
        let n = shifted - rounding
        let r = (x - n * 0.693359375) - n * -2.12194440e-4
        var p = r * 1.9875691500e-4 + 1.3981999507e-3
        p = p * r + 8.3334519073e-3
        p = p * r + 4.1665795894e-2
        p = p * r + 1.6666665459e-1
        p = p * r + 5.0000001201e-1
        p = (p * (r * r) + r) + 1
        let bits = unsafeBitCast(shifted, to: SIMD16<Int32>.self) &- Int32(bitPattern: rounding.bitPattern) &+ 127
        return p * unsafeBitCast(bits &<< 23, to: Lanes.self)
    }
}
