import CSignKernels
import Foundation
import Testing

/// The float kernels: right within rounding, and the same bits in every version.
@Suite struct FloatKernelTests {
    static let counts = [1, 2, 8, 15, 16, 17, 33, 64, 172, 1000]

    /// Calls `body` for every version; all must return the same bits. Returns them.
    private func everyVersion(_ body: (sign_kernels_table) -> [Float]) -> [Float] {
        let results = availableKernels().map { (name($0), body($0.pointee)) }
        for (name, result) in results.dropFirst() {
            #expect(
                result.map(\.bitPattern) == results[0].1.map(\.bitPattern),
                "\(name) differs from \(results[0].0)"
            )
        }
        return results[0].1
    }

    private func expectClose(_ found: [Float], _ expected: [Double], within tolerance: Double = 2e-6) {
        let scale = expected.map(\.magnitude).max() ?? 1
        #expect(found.count == expected.count)
        for (index, (a, b)) in zip(found, expected).enumerated()
        where abs(Double(a) - b) > tolerance * max(scale, 1e-30) {
            Issue.record("element \(index): found \(a), expected \(b)")
        }
    }

    @Test("Products with float, half and bfloat16 weights", arguments: counts)
    func product(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        let rows = 19
        let tokens = 6
        let x = generator.floats(tokens * columns)
        let weights = generator.floats(rows * columns)
        let halves = weights.map { Float16($0) }
        let brains = weights.map { UInt16($0.bitPattern >> 16) }
        let bytes = weights.map { Int8($0 * 127) }
        let stored: [(sign_kernels_float_type, [UInt8], [Float])] = [
            (SIGN_KERNELS_FLOAT32, weights.withUnsafeBytes(Array.init), weights),
            (SIGN_KERNELS_FLOAT16, halves.withUnsafeBytes(Array.init), halves.map { Float($0) }),
            (SIGN_KERNELS_INT8, bytes.withUnsafeBytes(Array.init), bytes.map { Float($0) }),
            (
                SIGN_KERNELS_BFLOAT16, brains.withUnsafeBytes(Array.init),
                brains.map { Float(bitPattern: UInt32($0) << 16) }
            ),
        ]
        for (type, bytes, values) in stored {
            // An odd address: weights lie anywhere in a file.
            let shifted = [0] + bytes
            let widened = everyVersion { kernels in
                var y = [Float](repeating: 0, count: values.count)
                shifted.withUnsafeBytes { kernels.widen($0.baseAddress! + 1, type, values.count, &y) }
                return y
            }
            #expect(widened == values)
            if type == SIGN_KERNELS_INT8 { continue }
            let y = everyVersion { kernels in
                var y = [Float](repeating: 0, count: tokens * rows)
                shifted.withUnsafeBytes { raw in
                    let start = raw.baseAddress! + 1
                    kernels.float_product(start, type, columns, 0, 7, x, columns, tokens, &y, rows)
                    kernels.float_product(start, type, columns, 7, rows, x, columns, tokens, &y, rows)
                }
                return y
            }
            let expected = (0..<tokens).flatMap { t in
                (0..<rows).map { r in
                    (0..<columns).reduce(0.0) {
                        $0 + Double(values[r * columns + $1]) * Double(x[t * columns + $1])
                    }
                }
            }
            expectClose(y, expected)

            let one = everyVersion { kernels in
                var y = [Float](repeating: 0, count: rows)
                shifted.withUnsafeBytes { raw in
                    kernels.float_product(raw.baseAddress! + 1, type, columns, 0, rows, x, columns, 1, &y, rows)
                }
                return y
            }
            #expect(one == Array(y[..<rows]), "a token alone and among others must give the same bits")
        }
    }

    @Test("Every half-precision value widens exactly, subnormals, infinities and NaN included")
    func widenAllHalves() {
        let halves = (0...UInt16.max).map { $0 }
        let widened = everyVersion { kernels in
            var y = [Float](repeating: 0, count: halves.count)
            halves.withUnsafeBytes { kernels.widen($0.baseAddress!, SIGN_KERNELS_FLOAT16, halves.count, &y) }
            // A signalling NaN may come back quiet.
            return y.map { $0.isNaN ? .nan : $0 }
        }
        for (half, found) in zip(halves, widened) {
            let expected = Float(Float16(bitPattern: half))
            if !(found == expected || (found.isNaN && expected.isNaN)) {
                Issue.record("half \(half): found \(found), expected \(expected)")
            }
        }
    }

    @Test("RMSNorm and LayerNorm", arguments: counts)
    func norms(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let x = generator.floats(count, in: -3...5)
        let w = generator.floats(count)
        let values = x.map { Double($0) }
        let meanSquare = values.reduce(0) { $0 + $1 * $1 } / Double(count)
        let rms = everyVersion { kernels in
            var y = [Float](repeating: 0, count: count)
            _ = kernels.rms_norm(x, w, count, 1e-5, &y)
            return y
        }
        expectClose(rms, zip(values, w).map { $0 / (meanSquare + 1e-5).squareRoot() * Double($1) })

        let mean = values.reduce(0, +) / Double(count)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
        let layer = everyVersion { kernels in
            var y = x
            _ = kernels.layer_norm(y, count, 1e-5, &y)
            return y
        }
        expectClose(layer, values.map { ($0 - mean) / (variance + 1e-5).squareRoot() }, within: 1e-5)
    }

    @Test("SwiGLU, addition and rotation", arguments: counts)
    func pointwise(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let a = generator.floats(count, in: -20...20)
        let b = generator.floats(count)
        let gated = everyVersion { kernels in
            var y = a
            kernels.swiglu(y, b, count, &y)
            return y
        }
        expectClose(gated, zip(a, b).map { Double($0) / (1 + exp(-Double($0))) * Double($1) })
        let rectified = everyVersion { kernels in
            var y = a
            kernels.relu(y, count, &y)
            return y
        }
        #expect(rectified == a.map { max($0, 0) })
        let sum = everyVersion { kernels in
            var y = b
            kernels.add(a, count, &y)
            return y
        }
        #expect(sum == zip(a, b).map { $0 + $1 })
        let product = everyVersion { kernels in
            var y = [Float](repeating: 0, count: count)
            kernels.scale(a, b, count, &y)
            return y
        }
        #expect(product == zip(a, b).map { $0 * $1 })

        let half = count
        let x = generator.floats(2 * half)
        let angles = generator.floats(half)
        let rotated = everyVersion { kernels in
            var y = x
            kernels.rotate_half(&y, 2 * half, angles.map { cos($0) }, angles.map { sin($0) })
            return y
        }
        var expected = [Double](repeating: 0, count: 2 * half)
        for i in 0..<half {
            let (first, second, angle) = (Double(x[i]), Double(x[i + half]), Double(angles[i]))
            expected[i] = first * cos(angle) - second * sin(angle)
            expected[i + half] = second * cos(angle) + first * sin(angle)
        }
        expectClose(rotated, expected)
    }

    @Test("The soft cap is that of the standard library's tanh, keeps NaN, and holds what is far", arguments: counts)
    func softCap(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        for (range, cap) in [(Float(-4)...4, Float(2)), (-300...300, 50), (-1e-3...1e-3, 30)] {
            let x = generator.floats(count, in: range)
            let capped = everyVersion { kernels in
                var y = x
                kernels.soft_cap(y, count, 1.5, cap, &y)
                return y
            }
            expectClose(capped, x.map { Double(cap) * tanh(Double($0) * 1.5 / Double(cap)) })
        }
        let extremes: [Float] = [.infinity, -.infinity, .nan, -0.0, 1e30, -1e-30]
        let found = everyVersion { kernels in
            var y = extremes
            kernels.soft_cap(y, 6, 1, 30, &y)
            return y.map { $0.isNaN ? .nan : $0 }
        }
        #expect(found[0] == 30 && found[1] == -30 && found[2].isNaN && found[4] == 30)
        #expect(found[3] == 0 && abs(found[5] + 1e-30) < 1e-36)
    }

    @Test("SwiGLU and ReLU far from zero neither overflow nor lose NaN")
    func activationExtremes() {
        let gate: [Float] = [-1000, 1000, -88, 88, .nan, 0]
        let y = everyVersion { kernels in
            var y = gate
            kernels.swiglu(y, [1, 1, 1, 1, 1, 1], 6, &y)
            return y.map { $0.isNaN ? .nan : $0 }
        }
        #expect(y[0].magnitude < 1e-30 && y[1] == 1000 && y[2].magnitude < 1e-30 && y[3] == 88)
        #expect(y[4].isNaN && y[5] == 0)
        let rectified = everyVersion { kernels in
            var y = [Float](repeating: 0, count: 6)
            kernels.relu([-.infinity, .infinity, -0.0, -Float.leastNonzeroMagnitude, .nan, 3], 6, &y)
            return y.map { $0.isNaN ? .nan : $0 }
        }
        #expect(rectified[0] == 0 && rectified[1] == .infinity && rectified[3] == 0 && rectified[5] == 3)
        #expect(rectified[2] == 0 && rectified[4].isNaN)
    }

    @Test("Every float narrows to the nearest half, ties to even, subnormals, infinities and NaN included")
    func narrow() {
        var generator = TestGenerator(state: 9)
        // Every half, the points in the middle between two, what lies beside them, and anything.
        let halves = (0...UInt16.max).map { Float(Float16(bitPattern: $0)) }.filter { $0.isFinite }.sorted()
        var values = zip(halves, halves.dropFirst()).flatMap { a, b -> [Float] in
            let middle = a / 2 + b / 2
            return [a, middle, middle.nextUp, middle.nextDown]
        }
        values += [65519.99, 65520, 1e9, -1e9, .infinity, -.infinity, .nan, 1e-30, -1e-30]
        values += (0..<10_000).map { _ in Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &generator)) }
        let narrowed = everyVersion { kernels in
            var y = [UInt16](repeating: 0, count: values.count)
            kernels.narrow_float16(values, values.count, &y)
            return y.map { Float16(bitPattern: $0).isNaN ? .nan : Float(bitPattern: UInt32($0)) }
        }
        for (value, found) in zip(values, narrowed) {
            let expected = Float16(value)
            if !(found.isNaN && expected.isNaN) && found.bitPattern != UInt32(expected.bitPattern) {
                Issue.record("\(value): found \(found.bitPattern), expected \(expected.bitPattern)")
            }
        }
    }
}
