import Dispatch

/// |W| as the factorisations use it: its products with vectors, summed in double precision.
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
