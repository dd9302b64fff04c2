/// Vectors a [rows] and b [columns] with a bᵀ ≈ |W|, and how they were found.
struct RankOneFactors {
    var a: [Double]
    var b: [Double]
    var iterations: Int

    /// Non-negative factors by alternating least squares from a random start.
    ///
    /// For fixed b the minimum of ‖|W| − a bᵀ‖² over a is, row by row,
    ///
    ///     a = |W| b / (b·b),      and likewise   b = |W|ᵀ a / (a·a).
    ///
    /// With |W| ≥ 0 and b > 0 it is non-negative by itself: at rank one this is the coordinate descent of
    /// scikit-learn's `NMF(n_components=1, init='random')`, run to a tighter tolerance.
    static func nonNegative(_ matrix: MagnitudeMatrix, seed: UInt64, limits: DecompositionLimits) -> RankOneFactors {
        // Start entries √(mean |W|) · |N(0, 1)|, the size that a and b have when both carry half the scale.
        let size = matrix.mean.squareRoot()
        var random = SplitMix64(seed: seed)
        let start = (0..<matrix.columns).map { _ in size * random.halfNormal() }
        return alternate(matrix, from: start, limits: limits)
    }

    /// The leading singular triple of |W|: a = √σ u, b = √σ v, u and v unit vectors.
    ///
    /// Alternating products are the power iteration on |W|ᵀ|W|; it starts from the row sums' direction, which has a
    /// component along the leading vector because both are non-negative.
    static func singular(_ matrix: MagnitudeMatrix, limits: DecompositionLimits) -> RankOneFactors {
        let start = matrix.transposedTimes([Double](repeating: 1, count: matrix.rows))
        var factors = alternate(matrix, from: start, limits: limits)
        factors.balance()
        return factors
    }

    /// No approximation: unit vectors.
    static func unit(_ matrix: MagnitudeMatrix) -> RankOneFactors {
        RankOneFactors(
            a: [Double](repeating: 1, count: matrix.rows),
            b: [Double](repeating: 1, count: matrix.columns),
            iterations: 0
        )
    }

    private static func alternate(
        _ matrix: MagnitudeMatrix,
        from start: [Double],
        limits: DecompositionLimits
    ) -> RankOneFactors {
        var b = start
        var a = [Double](repeating: 0, count: matrix.rows)
        var scale = 0.0
        for iteration in 1...max(1, limits.iterations) {
            let bb = squaredNorm(b)
            guard bb > 0 else { return zero(matrix, iterations: iteration) }
            a = matrix.times(b).map { $0 / bb }
            let aa = squaredNorm(a)
            guard aa > 0 else { return zero(matrix, iterations: iteration) }
            b = matrix.transposedTimes(a).map { $0 / aa }
            // ‖a bᵀ‖ grows towards σ₁; its error falls with the square of the vectors' error.
            let newScale = (aa * squaredNorm(b)).squareRoot()
            if newScale - scale <= limits.tolerance * newScale {
                return RankOneFactors(a: a, b: b, iterations: iteration)
            }
            scale = newScale
        }
        return RankOneFactors(a: a, b: b, iterations: limits.iterations)
    }

    private static func zero(_ matrix: MagnitudeMatrix, iterations: Int) -> RankOneFactors {
        RankOneFactors(
            a: [Double](repeating: 0, count: matrix.rows),
            b: [Double](repeating: 0, count: matrix.columns),
            iterations: iterations
        )
    }

    /// Shares the scale equally: ‖a‖ = ‖b‖, the product unchanged.
    mutating func balance() {
        let normA = Self.squaredNorm(a).squareRoot()
        let normB = Self.squaredNorm(b).squareRoot()
        guard normA > 0, normB > 0 else { return }
        let factor = (normB / normA).squareRoot()
        for index in a.indices { a[index] *= factor }
        for index in b.indices { b[index] /= factor }
    }

    private static func squaredNorm(_ vector: [Double]) -> Double {
        vector.reduce(0) { $0 + $1 * $1 }
    }
}
