import Foundation

/// Steele, Lea and Flood 2014: a seed's numbers, the same on every machine. Every state is good, so any seed serves.
package struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Standard normal (Box–Muller), magnitude taken: the start that scikit-learn's `init='random'` draws.
    mutating func halfNormal() -> Double {
        // (0, 1], so that the logarithm is finite.
        let radius = Double((next() >> 11) + 1) * 0x1p-53
        let angle = Double(next() >> 11) * 0x1p-53
        return abs(((-2 * log(radius)).squareRoot()) * Foundation.cos(2 * .pi * angle))
    }
}
