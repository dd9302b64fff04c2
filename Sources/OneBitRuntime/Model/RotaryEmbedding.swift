import Foundation

/// Rotary positions, in Hugging Face's order: channel i of a head is paired with channel i + d/2.
///
///     θ_i = base^(−2i/d),   (x_i, x_{i+d/2}) turned by the angle position · θ_i
struct RotaryEmbedding: Sendable {
    private let frequencies: [Float]

    init(headSize: Int, base: Float) {
        frequencies = (0..<headSize / 2).map { 1 / pow(base, Float(2 * $0) / Float(headSize)) }
    }

    /// Cosines and sines of one position, [d/2] each.
    func fill(cosines: UnsafeMutablePointer<Float>, sines: UnsafeMutablePointer<Float>, position: Int) {
        for (i, frequency) in frequencies.enumerated() {
            let angle = Float(position) * frequency
            cosines[i] = cos(angle)
            sines[i] = sin(angle)
        }
    }
}
