import CSignKernels
import Foundation
import ModelDescription

/// What enters the first block:
///
///     x = E[token] · m                rotary positions; m where the family has a multiplier
///     x = E[token] Pᵀ + L[position]   learned ones; P where the embedding has a width of its own
struct TokenEmbedding: Sendable {
    private enum Rows: Sendable {
        case floats(FloatMatrix)
        case int8(Int8Matrix)

        var width: Int {
            switch self {
            case .floats(let matrix): matrix.columns
            case .int8(let matrix): matrix.columns
            }
        }

        func copyRow(_ row: Int, to y: UnsafeMutablePointer<Float>, kernels: Kernels) {
            switch self {
            case .floats(let matrix): matrix.copyRow(row, to: y, kernels: kernels)
            case .int8(let matrix): matrix.copyRow(row, to: y, kernels: kernels)
            }
        }
    }

    /// E
    private let tokens: Rows
    /// m
    private let multiplier: Float
    /// P
    private let projection: FloatMatrix?
    /// L
    private let positions: FloatMatrix?
    /// Row of L of the first position.
    private let positionOffset: Int

    init(of checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        tokens =
            if let matrix = checkpoint.int8Matrices[configuration.embedding.name] {
                .int8(try Int8Matrix(matrix, of: checkpoint))
            } else {
                .floats(try FloatMatrix(configuration.embedding, of: checkpoint))
            }
        multiplier = configuration.structure.embeddingMultiplier
        projection = try configuration.inputProjection.map { try FloatMatrix($0, of: checkpoint) }
        positions = try configuration.positionEmbedding.map { try FloatMatrix($0, of: checkpoint) }
        positionOffset = if case .learned(let offset) = configuration.structure.positions { offset } else { 0 }
    }

    /// x: [rows, hiddenSize]
    func callAsFunction(into x: UnsafeMutablePointer<Float>, _ pass: ForwardPass) {
        let width = projection?.rows ?? tokens.width
        pass.parallelFor(pass.slices.count) { range in
            for slice in pass.slices[range] {
                for index in 0..<slice.rowCount {
                    let row = slice.firstRow + index
                    let scratch = pass.activations.embedded.pointer + row * pass.activations.embeddedWidth
                    fill(
                        x + row * width, token: pass.tokens[row], position: slice.position + index, scratch: scratch,
                        kernels: pass.kernels)
                }
            }
        }
    }

    /// - Parameter scratch: a row of E, then one of L.
    private func fill(
        _ x: UnsafeMutablePointer<Float>, token: Int, position: Int, scratch: UnsafeMutablePointer<Float>,
        kernels: Kernels
    ) {
        if let projection {
            tokens.copyRow(token, to: scratch, kernels: kernels)
            projection.product(rows: 0..<projection.rows, scratch, tokens: 1, into: x, kernels: kernels)
        } else {
            tokens.copyRow(token, to: x, kernels: kernels)
        }
        multiply(x, count: projection?.rows ?? tokens.width, by: multiplier)
        if let positions {
            positions.copyRow(position + positionOffset, to: scratch, kernels: kernels)
            kernels.pointee.add(scratch, positions.columns, x)
        }
    }
}

/// x ← x · factor
func multiply(_ x: UnsafeMutablePointer<Float>, count: Int, by factor: Float) {
    guard factor != 1 else { return }
    for index in 0..<count { x[index] *= factor }
}

/// Rotary positions (Su et al. 2021): channel i of a head is paired with channel i + d/2, d being the channels that are
/// rotated, and
///
///     (x_i, x_{i+d/2}) is rotated by the angle position · θ_i
///
/// Models may have several, of which each layer has one.
struct RotaryEmbedding: Sendable {
    /// Which of the model's it is.
    let number: Int
    /// Whether θ depends on the length of the sequence.
    let dependsOnLength: Bool
    private let positions: RotaryPositions
    /// d/2
    private let pairCount: Int
    /// θ of sequences whose length does not matter, [d/2].
    private let frequencies: FloatVector

    init(_ positions: RotaryPositions, number: Int, of configuration: ModelConfiguration) throws {
        self.number = number
        self.positions = positions
        dependsOnLength = positions.dependsOnLength
        frequencies = try FloatVector(positions.frequencies(headSize: configuration.headSize, sequenceLength: 0))
        pairCount = frequencies.count
    }

    /// θ of a sequence of so many tokens, [d/2].
    ///
    /// - Parameter scratch: memory for it where it depends on the length.
    func frequencies(sequenceLength: Int, scratch: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> {
        guard dependsOnLength else { return frequencies.pointer }
        positions.fillFrequencies(
            UnsafeMutableBufferPointer(start: scratch, count: pairCount), sequenceLength: sequenceLength)
        return UnsafePointer(scratch)
    }

    /// Cosines and sines of the positions of all rows.
    func prepare(_ pass: ForwardPass) {
        let half = pairCount
        let factor = positions.attentionFactor
        pass.parallelFor(pass.slices.count) { range in
            for slice in pass.slices[range] {
                let frequencies = dependsOnLength ? slice.frequencies : self.frequencies.pointer
                for index in 0..<slice.rowCount {
                    let (cosines, sines) = pass.activations.rotation(
                        number, row: slice.firstRow + index, pairCount: half)
                    for i in 0..<half {
                        let angle = Float(slice.position + index) * frequencies[i]
                        cosines[i] = cos(angle) * factor
                        sines[i] = sin(angle) * factor
                    }
                }
            }
        }
    }
}
