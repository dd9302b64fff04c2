import Foundation

/// Cosines and sines of the rotary position embedding (Su et al. 2021), [positions, headSize / 2] each.
///
/// Computed in single precision like the reference implementation, whose rounding of `position · frequency` shows at
/// large positions.
struct RotaryTable: Sendable {
    let cosines: Tensor
    let sines: Tensor

    /// angle[p, i] = p · theta^(−2i / headSize)
    init(positions: Int, headSize: Int, theta: Float) throws {
        let half = headSize / 2
        let frequencies = (0..<half).map { 1 / pow(theta, Float(2 * $0) / Float(headSize)) }
        var cosines: [Float] = []
        var sines: [Float] = []
        cosines.reserveCapacity(positions * half)
        sines.reserveCapacity(positions * half)
        for position in 0..<positions {
            for frequency in frequencies {
                let angle = Float(position) * frequency
                cosines.append(cos(angle))
                sines.append(sin(angle))
            }
        }
        self.cosines = try Tensor(cosines, shape: [positions, half])
        self.sines = try Tensor(sines, shape: [positions, half])
    }

    private init(cosines: Tensor, sines: Tensor) {
        self.cosines = cosines
        self.sines = sines
    }

    /// The rows of `length` positions from `start`.
    func slice(from start: Int, length: Int) throws -> RotaryTable {
        RotaryTable(
            cosines: try cosines.narrowed(0, from: start, length: length),
            sines: try sines.narrowed(0, from: start, length: length)
        )
    }
}
