import Foundation
import ModelDescription

/// Cosines and sines of rotary positions: channel i of a head is paired with channel i + d/2, and
///
///     (x_i, x_{i+d/2}) is turned by the angle position · θ_i
struct RotaryEmbedding: Sendable {
    private let positions: RotaryPositions
    private let headSize: Int
    /// θ_i of sequences whose length does not matter.
    private let frequencies: [Float]

    init(_ positions: RotaryPositions, headSize: Int) {
        self.positions = positions
        self.headSize = headSize
        frequencies = positions.frequencies(headSize: headSize, sequenceLength: 0)
    }

    /// Cosines and sines of one position, [d/2] each.
    ///
    /// - Parameter sequenceLength: tokens of the sequence once the call at hand has read its own.
    func fill(
        cosines: UnsafeMutablePointer<Float>, sines: UnsafeMutablePointer<Float>, position: Int, sequenceLength: Int
    ) {
        let frequencies =
            positions.dependsOnLength
            ? positions.frequencies(headSize: headSize, sequenceLength: sequenceLength) : frequencies
        for (i, frequency) in frequencies.enumerated() {
            let angle = Float(position) * frequency
            cosines[i] = cos(angle)
            sines[i] = sin(angle)
        }
    }
}
