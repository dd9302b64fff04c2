import CLibTorch

extension TensorBuffer {
    /// Adds aᵀ b of a [.., m] and b [.., n] to the matrix [m, n] that is here, summed over all rows.
    public func addProduct(_ a: Tensor, _ b: Tensor) throws {
        try Tensor.withHandles([tensor, a, b]) { try check(lt_add_product($0[0], $0[1], $0[2]), "a sum of products") }
    }

    /// Adds the lower triangle of xᵀ x of x [.., n] to the matrix [n, n] that is here. What lies above it becomes anything.
    public func addGram(of x: Tensor) throws {
        try Tensor.withHandles([tensor, x]) { try check(lt_add_gram($0[0], $0[1]), "a Gram matrix") }
    }
}

extension Tensor {
    /// Σ x² of all elements.
    public func squareSum() throws -> Double {
        var sum = 0.0
        try Self.withHandles([self]) { try check(lt_square_sum($0[0], &sum), "a sum of squares") }
        return sum
    }

    /// The symmetric matrix that has the lower triangle of this one, with more on its diagonal.
    ///
    /// - Parameter damping: What is added, as a part of the diagonal's mean; where that is 0, 1 is added.
    /// - Returns: The matrix, and what was added.
    public func damped(by damping: Double) throws -> (matrix: Tensor, added: Double) {
        var result: OpaquePointer?
        var added = 0.0
        try Self.withHandles([self]) { try check(lt_damped($0[0], damping, &result, &added), "a damped matrix") }
        return (Self.adopt([result]).compactMap(\.self)[0], added)
    }

    /// V, upper triangular, with V Vᵀ equal to this symmetric matrix; nil where it is not positive definite.
    public func upperFactor() throws -> Tensor? {
        var factor: OpaquePointer?
        try Self.withHandles([self]) { try check(lt_upper_factor($0[0], &factor), "a Cholesky factor") }
        return Self.adopt([factor])[0]
    }

    /// X with X V Vᵀ equal to this matrix [m, n], for V [n, n] from ``upperFactor()``.
    public func solvingRows(factor: Tensor) throws -> Tensor {
        try .compute("the solution of linear equations", self, factor) { lt_solve_rows($0[0], $0[1]) }
    }
}

// MARK: Signs chosen column by column

/// A OneBit layer Ŵ = h gᵀ ⊙ sign(T) that is to make tr(Ŵ A Ŵᵀ) − 2 tr(Ŵ Cᵀ) small: see column_signs.cpp for the equations.
public struct ColumnSigns: Sendable {
    /// T [out, in]: its signs are the layer's, its magnitudes say how certain they are.
    public private(set) var targets: Tensor
    /// g [in].
    public let inputScale: Tensor
    /// h [out].
    public private(set) var outputScale: Tensor
    /// A [in, in], symmetric and positive definite.
    private let gram: Tensor
    /// C [out, in].
    private let cross: Tensor

    /// Chooses the signs of each column so that they make up for the errors of the columns before it.
    ///
    /// - Parameters:
    ///   - weight: W = C A⁻¹ [out, in].
    ///   - gram: A [in, in].
    ///   - factor: V of A = V Vᵀ.
    ///   - cross: C [out, in].
    ///   - inputScale: g [in], positive.
    ///   - outputScale: h [out], positive.
    public init(
        weight: Tensor, gram: Tensor, factor: Tensor, cross: Tensor, inputScale: Tensor, outputScale: Tensor
    ) throws {
        targets = try .compute("signs column by column", weight, factor, inputScale, outputScale) {
            lt_compensated_targets($0[0], $0[1], $0[2], $0[3])
        }
        self.gram = gram
        self.cross = cross
        self.inputScale = inputScale
        self.outputScale = outputScale
    }

    /// Chooses each column again with all others as they are.
    public mutating func descend() throws {
        targets = try .compute("signs column by column", targets, gram, cross, inputScale, outputScale) {
            lt_descended_targets($0[0], $0[1], $0[2], $0[3], $0[4])
        }
    }

    /// Fits h to the signs by least squares.
    ///
    /// - Returns: By how much the sum of squared errors is less than without any output.
    @discardableResult
    public mutating func fitOutputScale() throws -> Double {
        let fit = try Tensor.compute("output scales", targets, gram, cross, inputScale) {
            lt_fitted_output_scale($0[0], $0[1], $0[2], $0[3])
        }
        outputScale = try fit.narrowed(0, from: 0, length: 1).reshaped([targets.shape[0]])
        return try fit.narrowed(0, from: 1, length: 1).sum().item()
    }
}
