// SignDecomposition: the method's mathematics: matrices of signs, |W| as an outer product of two vectors, packing, what it
// all takes in bits, and the checkpoints that a student starts from and that are run. May import JSON, TensorFiles and
// ModelDescription.

import Foundation

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
///   - limits: when the factorisation stops.
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

/// How |W| is approximated by the outer product of two value vectors (paper §3.2).
public enum DecompositionMethod: String, Sendable, CaseIterable, Codable {
    /// Non-negative matrix factorisation of rank one.
    case nmf
    /// Leading singular triple.
    case svd
    /// No decomposition: unit value vectors (the paper's ablation).
    case copy
}

/// How the scale of a rank-one product a bᵀ is shared between a and b, which the product leaves open.
public enum ScaleSplit: String, Sendable, CaseIterable, Codable {
    /// As the factorisation leaves it: b of norm near √‖W‖ from its random start, a with what fits.
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
