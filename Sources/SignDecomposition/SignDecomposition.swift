// SignDecomposition: the method's mathematics: matrices of signs, |W| as an outer product of two vectors, packing, what it
// all takes in bits, and the checkpoints that a student starts from and that are run. May import JSON, TensorFiles and
// ModelDescription.

import Foundation
import ModelDescription

/// Sign-value-independent decomposition of one weight matrix (paper §3.2): `W ≈ W±1 ⊙ (a bᵀ)` with `a bᵀ ≈ |W|`.
public struct SignValueDecomposition: Sendable {
    /// The paper's h = a, one factor per output row, [rows].
    public var outputScale: [Float]
    /// The paper's g = b, one factor per input column, [columns].
    public var inputScale: [Float]
    /// ‖|W| − a bᵀ‖_F.
    public var residual: Double
    /// Rounds until the tolerance was met, or the limit.
    public var iterations: Int
}

/// When the iterations stop.
public struct DecompositionLimits: Sendable {
    /// Largest change of ‖a bᵀ‖ that counts as none, relative.
    public var tolerance: Double
    /// Rounds after which the last values are taken as they are.
    public var iterations: Int

    /// The defaults converge to float precision; matrices of weights need fewer than 20 rounds.
    public init(tolerance: Double = 1e-10, iterations: Int = 200) {
        self.tolerance = tolerance
        self.iterations = iterations
    }
}

/// Approximates |W| by an outer product of two non-negative vectors.
///
/// Zero rows and columns get zero factors; a zero matrix gives zero vectors. The result depends on the arguments
/// alone, not on the number of threads.
///
/// - Parameters:
///   - weight: row-major [rows, columns].
///   - rows: outputs of the layer.
///   - columns: inputs of the layer.
///   - method: NMF and SVD have one optimum, since the best rank-one approximation of a non-negative matrix is
///     non-negative (Perron–Frobenius); they differ in scale split. `copy` decomposes nothing: unit vectors.
///   - scaleSplit: how a and b share the scale; without effect on the product and on `copy`.
///   - seed: of NMF's random start.
///   - limits: when the factorization stops.
/// - Throws: ``DecompositionError``, `CancellationError`.
public func decompose(
    _ weight: [Float],
    rows: Int,
    columns: Int,
    method: DecompositionMethod,
    scaleSplit: ScaleSplit = .nmf,
    seed: UInt64,
    limits: DecompositionLimits = DecompositionLimits()
) throws -> SignValueDecomposition {
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard rows >= 0, columns >= 0, !overflow, weight.count == count else {
        throw DecompositionError.wrongCount(expected: overflow ? -1 : count, found: weight.count)
    }
    if let index = weight.firstIndex(where: { !$0.isFinite }) {
        throw DecompositionError.notFinite(row: index / columns, column: index % columns)
    }
    let matrix = MagnitudeMatrix(weight, rows: rows, columns: columns)
    var factors: RankOneFactors
    switch method {
    case .nmf: factors = try .nonNegative(matrix, seed: seed, limits: limits)
    case .svd: factors = try .singular(matrix, limits: limits)
    case .copy: factors = .unit(matrix)
    }
    if scaleSplit == .balanced && method != .copy { factors.balance() }
    return SignValueDecomposition(
        outputScale: factors.a.map { Float($0) },
        inputScale: factors.b.map { Float($0) },
        residual: matrix.residual(factors.a, factors.b),
        iterations: factors.iterations
    )
}

/// Approximates the |W_i| of layers that share an input scale by h_i gᵀ with one g: the matrices one above the other are decomposed
/// as one.
///
/// With `groups` g is the same for the query heads of a group besides: the mean of theirs, and h is fitted to it again.
///
/// - Parameters:
///   - weights: each row-major [rows, columns], of the same columns.
///   - groups: of the heads that the columns are the channels of.
/// - Returns: a decomposition for each matrix, all with the same input scale.
/// - Throws: as `decompose`.
package func decomposeTogether(
    _ weights: [[Float]], columns: Int, groups: HeadGroups? = nil, method: DecompositionMethod, scaleSplit: ScaleSplit,
    seed: UInt64, limits: DecompositionLimits = DecompositionLimits()
) throws -> [SignValueDecomposition] {
    let stacked = weights.count == 1 ? weights[0] : weights.flatMap { $0 }
    let rows = columns > 0 ? stacked.count / columns : 0
    var whole = try decompose(
        stacked, rows: rows, columns: columns, method: method, scaleSplit: scaleSplit, seed: seed, limits: limits)
    if let groups, groups.headsPerGroup > 1 {
        let mean = groups.mean(of: whole.inputScale)
        whole.inputScale = groups.repeated(mean)
        if method != .copy {
            // h = |W| g / (g · g)
            let g = whole.inputScale.map(Double.init)
            let square = g.reduce(0) { $0 + $1 * $1 }
            whole.outputScale = MagnitudeMatrix(stacked, rows: rows, columns: columns).times(g)
                .map { square > 0 ? Float($0 / square) : 0 }
        }
    }
    var first = 0
    return weights.map { weight in
        let count = columns > 0 ? weight.count / columns : 0
        defer { first += count }
        let h = Array(whole.outputScale[first..<first + count])
        let residual = MagnitudeMatrix(weight, rows: count, columns: columns)
            .residual(h.map(Double.init), whole.inputScale.map(Double.init))
        return SignValueDecomposition(
            outputScale: h, inputScale: whole.inputScale, residual: residual, iterations: whole.iterations)
    }
}

extension HeadGroups {
    /// Of a vector over the channels of query heads, the mean over the heads of each group.
    fileprivate func mean(of vector: [Float]) -> [Float] {
        let group = headSize * headsPerGroup
        return stride(from: 0, to: vector.count, by: group).flatMap { first in
            (0..<headSize).map { channel in
                stride(from: first + channel, to: first + group, by: headSize).reduce(0) { $0 + vector[$1] }
                    / Float(headsPerGroup)
            }
        }
    }
}

/// How |W| is approximated by the outer product of two value vectors (paper §3.2).
public enum DecompositionMethod: String, Sendable, CaseIterable, Codable {
    /// Non-negative matrix factorization of rank one.
    case nmf
    /// Leading singular triple.
    case svd
    /// No decomposition: unit value vectors (the paper's ablation).
    case copy
}

/// How the scale of a rank-one product a bᵀ is shared between a and b, which the product leaves open.
public enum ScaleSplit: String, Sendable, CaseIterable, Codable {
    /// As the factorization leaves it: b of norm near √‖W‖ from its random start, a with what fits.
    case nmf
    /// ‖g‖ = ‖h‖: gradients of the two vectors are of one size, and so are their steps.
    case balanced
}

/// What keeps a weight matrix from being decomposed or packed.
public enum DecompositionError: LocalizedError, Sendable, Equatable {
    /// The values do not fill the matrix.
    case wrongCount(expected: Int, found: Int)
    /// A value has no sign.
    case notANumber(row: Int, column: Int)
    /// A value cannot be approximated.
    case notFinite(row: Int, column: Int)
    /// A packed row has bits beyond its last column.
    case paddingNotZero(row: Int)
    /// An error in one tensor of a checkpoint.
    indirect case inTensor(directory: String, tensor: String, DecompositionError)

    public var errorDescription: String? {
        switch self {
        case .wrongCount(let expected, let found): "expected \(expected) values, found \(found)."
        case .notANumber(let row, let column): "row \(row), column \(column) is NaN; expected a number."
        case .notFinite(let row, let column): "row \(row), column \(column) is not finite."
        case .paddingNotZero(let row):
            "packed row \(row) has bits set beyond its last column; expected zeros. Packed with another bit order?"
        case .inTensor(let directory, let tensor, let error):
            "\(directory): tensor \"\(tensor)\": \(error.localizedDescription)"
        }
    }
}

/// Runs `body`, and makes its errors name the tensor of the checkpoint that they are about.
func attributingErrors<Result>(to tensor: String, of directory: URL, _ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as DecompositionError {
        throw DecompositionError.inTensor(directory: directory.path, tensor: tensor, error)
    }
}
