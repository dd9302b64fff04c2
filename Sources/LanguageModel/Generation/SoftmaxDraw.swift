import Foundation

/// The softmax of a vocabulary's logits, relative to the likeliest token:
///
///     w_i = exp(x_i),  x_i = (l_i − max l) / temperature,  P(i) = w_i / Σ w
///
/// 16 at a time. Only additions and multiplications of floats, in a fixed order, are made of the logits: the same everywhere.
struct SoftmaxWeights {
    typealias Lanes = SIMD16<Float>
    static let laneCount = 16
    /// x below which a token has no weight: it is e⁸⁷ times less likely than the likeliest.
    static let least: Float = -87

    /// Not empty.
    let logits: UnsafeBufferPointer<Float>
    /// The largest of them, finite.
    let largest: Float
    /// 1 / temperature, finite.
    let inverse: Float

    /// x of 16 tokens; −∞ beyond the last.
    @inline(__always)
    func exponents(at index: Int) -> Lanes {
        var values = Lanes(repeating: -.infinity)
        if index + Self.laneCount <= logits.count {
            values = UnsafeRawPointer(logits.baseAddress! + index).loadUnaligned(as: Lanes.self)
        } else {
            for lane in 0..<logits.count - index { values[lane] = logits[index + lane] }
        }
        return (values - largest) * inverse
    }

    /// w of 16 x; NaN and what is below `least` have none.
    @inline(__always)
    static func weights(_ x: Lanes) -> Lanes {
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

/// Draws from the softmax of a whole vocabulary, unfiltered, in two passes over the logits: no sorting, no array of
/// candidates. The weights are summed block by block; a draw looks for its block first and then for its token inside it.
struct SoftmaxDraw: Sendable {
    private static let blockSize = 1024

    /// Σ w of each block. Kept from draw to draw.
    private var sums: [Double] = []

    /// Σ w. Leaves the sums of the blocks.
    mutating func total(_ softmax: SoftmaxWeights) -> Double {
        let count = softmax.logits.count
        sums.removeAll(keepingCapacity: true)
        var total = 0.0
        for first in stride(from: 0, to: count, by: Self.blockSize) {
            var sum = SoftmaxWeights.Lanes.zero
            for index in stride(from: first, to: min(first + Self.blockSize, count), by: SoftmaxWeights.laneCount) {
                sum += SoftmaxWeights.weights(softmax.exponents(at: index))
            }
            sums.append(Double(sum.sum()))
            total += sums[sums.count - 1]
        }
        return total
    }

    /// The token at which the running sum of the probabilities exceeds `unit`, which is in 0 ..< 1. A NaN has no weight.
    ///
    /// - Returns: nil where all logits are NaN.
    mutating func token(_ softmax: SoftmaxWeights, unit: Double) -> Int? {
        let count = softmax.logits.count
        var rest = unit * total(softmax)
        var last: Int?
        for (block, sum) in sums.enumerated() where sum > 0 {
            // By rounding, the sums may end a little below the total: then the last token that has a weight is it.
            if rest >= sum, sums[(block + 1)...].contains(where: { $0 > 0 }) {
                rest -= sum
                continue
            }
            let first = block * Self.blockSize
            for index in stride(from: first, to: min(first + Self.blockSize, count), by: SoftmaxWeights.laneCount) {
                let weights = SoftmaxWeights.weights(softmax.exponents(at: index))
                for lane in 0..<SoftmaxWeights.laneCount where weights[lane] > 0 {
                    last = index + lane
                    rest -= Double(weights[lane])
                    if rest < 0 { return last }
                }
            }
            return last
        }
        return last
    }
}
