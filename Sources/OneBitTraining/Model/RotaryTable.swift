import Foundation
import ModelDescription
import Synchronization

/// Cosines and sines of the rotary position embedding (Su et al. 2021): angle[p, i] = p · θ_i.
///
/// Computed in single precision like the reference implementation, whose rounding of `position · frequency` shows at
/// large positions, and as far as a sequence has asked for: a context of 131,072 positions would fill 64 MB.
final class RotaryTable: Sendable {
    /// Of the positions from 0 on: [positions, headSize / 2] each.
    struct Rows: Sendable {
        let cosines: Tensor
        let sines: Tensor
    }

    private let positions: RotaryPositions
    private let headSize: Int
    private let grown = Mutex<(count: Int, rows: Rows)?>(nil)

    init(_ positions: RotaryPositions, headSize: Int) {
        self.positions = positions
        self.headSize = headSize
    }

    /// The rows of positions `start ..< start + length`.
    ///
    /// - Parameter sequenceLength: tokens of the sequence, these included.
    func rows(from start: Int, length: Int, sequenceLength: Int) throws -> Rows {
        let rows = try rows(upTo: start + length, sequenceLength: sequenceLength)
        return Rows(
            cosines: try rows.cosines.narrowed(0, from: start, length: length),
            sines: try rows.sines.narrowed(0, from: start, length: length))
    }

    /// The rows of any positions [batch, length] as [batch, length, headSize / 2].
    func rows(of positions: [Int], batch: Int) throws -> Rows {
        let count = (positions.max() ?? 0) + 1
        let rows = try rows(upTo: count, sequenceLength: count)
        let indices = try Tensor(integers: positions, shape: [positions.count])
        let shape = [batch, positions.count / batch, headSize / 2]
        return Rows(
            cosines: try rows.cosines.selecting(indices, along: 0).reshaped(shape),
            sines: try rows.sines.selecting(indices, along: 0).reshaped(shape))
    }

    /// `count` rows or more.
    private func rows(upTo count: Int, sequenceLength: Int) throws -> Rows {
        if positions.dependsOnLength { return try table(count, sequenceLength: sequenceLength) }
        return try grown.withLock { grown in
            if let grown, grown.count >= count { return grown.rows }
            let larger = max(count, 2 * (grown?.count ?? 0))
            let rows = try table(larger, sequenceLength: larger)
            grown = (larger, rows)
            return rows
        }
    }

    private func table(_ count: Int, sequenceLength: Int) throws -> Rows {
        let frequencies = positions.frequencies(headSize: headSize, sequenceLength: sequenceLength)
        var cosines: [Float] = []
        var sines: [Float] = []
        cosines.reserveCapacity(count * frequencies.count)
        sines.reserveCapacity(count * frequencies.count)
        for position in 0..<count {
            for frequency in frequencies {
                let angle = Float(position) * frequency
                cosines.append(cos(angle))
                sines.append(sin(angle))
            }
        }
        let shape = [count, frequencies.count]
        return Rows(cosines: try Tensor(cosines, shape: shape), sines: try Tensor(sines, shape: shape))
    }
}
