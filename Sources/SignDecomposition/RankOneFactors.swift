import Dispatch
import Foundation

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
    static func nonNegative(_ matrix: MagnitudeMatrix, seed: UInt64, limits: DecompositionLimits) throws
        -> RankOneFactors
    {
        // Start entries √(mean |W|) · |N(0, 1)|, the size that a and b have when both carry half the scale.
        let size = matrix.mean.squareRoot()
        var random = SplitMix64(seed: seed)
        let start = (0..<matrix.columns).map { _ in size * random.halfNormal() }
        return try alternate(matrix, from: start, limits: limits)
    }

    /// The leading singular triple of |W|: a = √σ u, b = √σ v, u and v unit vectors.
    ///
    /// Alternating products are the power iteration on |W|ᵀ|W|; it starts from the row sums' direction, which has a
    /// component along the leading vector because both are non-negative.
    static func singular(_ matrix: MagnitudeMatrix, limits: DecompositionLimits) throws -> RankOneFactors {
        let start = matrix.transposedTimes([Double](repeating: 1, count: matrix.rows))
        var factors = try alternate(matrix, from: start, limits: limits)
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
    ) throws -> RankOneFactors {
        var b = start
        var a = [Double](repeating: 0, count: matrix.rows)
        var scale = 0.0
        for iteration in 1...max(1, limits.iterations) {
            try Task.checkCancellation()
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

/// |W| as the factorizations use it: its products with vectors, summed in double precision.
///
/// Rows are cut into blocks of a fixed height. A block is one thread's work, and sums over blocks are added in block
/// order, so a result does not depend on the number of threads.
struct MagnitudeMatrix {
    let rows: Int
    let columns: Int
    private let weights: [Float]
    private let blockHeight: Int

    /// Elements below which threads cost more than they bring.
    private static let parallelThreshold = 1 << 16
    /// Blocks of about this many elements.
    private static let blockElements = 1 << 18

    init(_ weights: [Float], rows: Int, columns: Int) {
        self.weights = weights
        self.rows = rows
        self.columns = columns
        blockHeight = max(1, min(max(1, rows), Self.blockElements / max(1, columns)))
    }

    private var blockCount: Int { (rows + blockHeight - 1) / blockHeight }

    private func forEachBlock(_ body: @Sendable (_ block: Int, _ rows: Range<Int>) -> Void) {
        let range: @Sendable (Int) -> Range<Int> = { block in
            block * blockHeight..<min(rows, (block + 1) * blockHeight)
        }
        if rows * columns < Self.parallelThreshold {
            for block in 0..<blockCount { body(block, range(block)) }
        } else {
            DispatchQueue.concurrentPerform(iterations: blockCount) { body($0, range($0)) }
        }
    }

    /// |W| b, [rows].
    func times(_ vector: [Double]) -> [Double] {
        var result = [Double](repeating: 0, count: rows)
        result.withUnsafeMutableBufferPointer { output in
            // Blocks write disjoint rows.
            nonisolated(unsafe) let output = output
            weights.withUnsafeBufferPointer { weights in
                nonisolated(unsafe) let weights = weights
                vector.withUnsafeBufferPointer { vector in
                    nonisolated(unsafe) let vector = vector
                    forEachBlock { _, rows in
                        for row in rows {
                            output[row] = Self.dot(weights.baseAddress! + row * columns, vector.baseAddress!, columns)
                        }
                    }
                }
            }
        }
        return result
    }

    /// |W|ᵀ a, [columns].
    func transposedTimes(_ vector: [Double]) -> [Double] {
        var partial = [Double](repeating: 0, count: blockCount * columns)
        partial.withUnsafeMutableBufferPointer { output in
            // Each block has a row of its own.
            nonisolated(unsafe) let output = output
            weights.withUnsafeBufferPointer { weights in
                nonisolated(unsafe) let weights = weights
                vector.withUnsafeBufferPointer { vector in
                    nonisolated(unsafe) let vector = vector
                    forEachBlock { block, rows in
                        let sums = output.baseAddress! + block * columns
                        for row in rows {
                            Self.add(vector[row], times: weights.baseAddress! + row * columns, to: sums, columns)
                        }
                    }
                }
            }
        }
        var result = [Double](repeating: 0, count: columns)
        for block in 0..<blockCount {
            for column in 0..<columns { result[column] += partial[block * columns + column] }
        }
        return result
    }

    /// ‖|W| − a bᵀ‖_F, entry by entry: the difference of two large sums would lose it.
    func residual(_ a: [Double], _ b: [Double]) -> Double {
        var squares = [Double](repeating: 0, count: rows)
        squares.withUnsafeMutableBufferPointer { output in
            // Blocks write disjoint rows.
            nonisolated(unsafe) let output = output
            weights.withUnsafeBufferPointer { weights in
                nonisolated(unsafe) let weights = weights
                b.withUnsafeBufferPointer { b in
                    nonisolated(unsafe) let b = b
                    forEachBlock { _, rows in
                        for row in rows {
                            let weight = weights.baseAddress! + row * columns
                            var sum = 0.0
                            for column in 0..<columns {
                                let difference = Double(weight[column].magnitude) - a[row] * b[column]
                                sum += difference * difference
                            }
                            output[row] = sum
                        }
                    }
                }
            }
        }
        return squares.reduce(0, +).squareRoot()
    }

    /// Mean of the entries; 0 for an empty matrix.
    var mean: Double {
        guard rows * columns > 0 else { return 0 }
        return times([Double](repeating: 1, count: columns)).reduce(0, +) / Double(rows) / Double(columns)
    }

    /// Eight running sums: independent, so that the processor need not wait for one addition to start the next.
    @inline(__always)
    private static func dot(_ weight: UnsafePointer<Float>, _ vector: UnsafePointer<Double>, _ count: Int) -> Double {
        var sums = SIMD8<Double>.zero
        var index = 0
        while index + 8 <= count {
            let values = UnsafeRawPointer(vector + index).loadUnaligned(as: SIMD8<Double>.self)
            sums += magnitudes(weight + index) * values
            index += 8
        }
        var sum = sums.sum()
        while index < count {
            sum += Double(weight[index].magnitude) * vector[index]
            index += 1
        }
        return sum
    }

    /// sums += factor · |weight|.
    @inline(__always)
    private static func add(
        _ factor: Double, times weight: UnsafePointer<Float>, to sums: UnsafeMutablePointer<Double>, _ count: Int
    ) {
        var index = 0
        while index + 8 <= count {
            let target = UnsafeMutableRawPointer(sums + index)
            let values = target.loadUnaligned(as: SIMD8<Double>.self) + factor * magnitudes(weight + index)
            target.storeBytes(of: values, as: SIMD8<Double>.self)
            index += 8
        }
        while index < count {
            sums[index] += factor * Double(weight[index].magnitude)
            index += 1
        }
    }

    /// Eight magnitudes in double precision.
    @inline(__always)
    private static func magnitudes(_ weight: UnsafePointer<Float>) -> SIMD8<Double> {
        let values = UnsafeRawPointer(weight).loadUnaligned(as: SIMD8<Float>.self)
        let bits = unsafeBitCast(values, to: SIMD8<UInt32>.self) & 0x7FFF_FFFF
        return SIMD8<Double>(unsafeBitCast(bits, to: SIMD8<Float>.self))
    }
}

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
