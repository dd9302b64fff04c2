import CSignKernels
import Foundation
import Testing

/// The kernels of training: right within rounding, the same bits in every version, and within their memory.
@Suite struct TrainingKernelTests {
    static let counts = [1, 2, 15, 16, 17, 33, 64, 172, 1000]

    private func everyVersion(_ body: (sign_kernels_table) -> [Float]) -> [Float] {
        let results = availableKernels().map { (name($0), body($0.pointee)) }
        for (name, result) in results.dropFirst() {
            #expect(result.map(\.bitPattern) == results[0].1.map(\.bitPattern), "\(name) differs from \(results[0].0)")
        }
        return results[0].1
    }

    private func expectClose(_ found: [Float], _ expected: [Double], within tolerance: Double = 1e-5) {
        let scale = max(expected.map(\.magnitude).max() ?? 1, 1e-6)
        #expect(found.count == expected.count)
        for (index, (a, b)) in zip(found, expected).enumerated() where abs(Double(a) - b) > tolerance * scale {
            Issue.record("element \(index): found \(a), expected \(b)")
        }
    }

    /// The gradient of Σ f(x) ⊙ dy by central differences.
    private func numericGradient(_ x: [Double], _ dy: [Double], _ function: ([Double]) -> [Double]) -> [Double] {
        let step = 1e-5
        return x.indices.map { index in
            var (above, below) = (x, x)
            above[index] += step
            below[index] -= step
            return zip(zip(function(above), function(below)), dy).reduce(0) {
                $0 + ($1.0.0 - $1.0.1) / (2 * step) * $1.1
            }
        }
    }

    // Of one or two numbers the gradient is next to nothing.
    @Test("LayerNorm's gradient", arguments: counts.filter { $0 > 2 })
    func layerNorm(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let y = generator.floats(count, in: -2...3)
        let dz = generator.floats(count)
        let epsilon: Float = 1e-5
        let found = everyVersion { kernels in
            let z = GuardedMemory(y)
            let d = GuardedMemory(dz)
            let r = kernels.layer_norm(z.pointer, count, epsilon, z.pointer)
            kernels.layer_norm_gradient(d.pointer, z.pointer, r, count, d.pointer)
            return d.array
        }
        let expected = numericGradient(y.map(Double.init), dz.map(Double.init)) { y in
            let mean = y.reduce(0, +) / Double(count)
            let variance = y.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count)
            return y.map { ($0 - mean) / (variance + Double(epsilon)).squareRoot() }
        }
        expectClose(found, expected, within: 2e-4)
    }

    @Test("RMSNorm's gradients by input and weight", arguments: counts.filter { $0 > 2 })
    func rmsNorm(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let x = generator.floats(count, in: -2...3)
        let w = generator.floats(count, in: 0.5...2)
        let dy = generator.floats(count)
        let epsilon: Float = 1e-5
        let found = everyVersion { kernels in
            let (input, weight, d) = (GuardedMemory(x), GuardedMemory(w), GuardedMemory(dy))
            let y = GuardedMemory<Float>(count: count, fill: 0)
            let dw = GuardedMemory([Float](repeating: 1, count: count))
            let r = kernels.rms_norm(input.pointer, weight.pointer, count, epsilon, y.pointer)
            kernels.rms_norm_gradient(
                d.pointer, input.pointer, weight.pointer, r, count, d.pointer, dw.pointer)
            return d.array + dw.array
        }
        func norm(_ x: [Double], _ w: [Double]) -> [Double] {
            let scale = 1 / (x.reduce(0) { $0 + $1 * $1 } / Double(count) + Double(epsilon)).squareRoot()
            return zip(x, w).map { $0 * scale * $1 }
        }
        let (xs, ws, ds) = (x.map(Double.init), w.map(Double.init), dy.map(Double.init))
        expectClose(Array(found[..<count]), numericGradient(xs, ds) { norm($0, ws) }, within: 2e-4)
        expectClose(
            found[count...].map { $0 - 1 }, numericGradient(ws, ds) { norm(xs, $0) }, within: 2e-5)
    }

    @Test("SwiGLU's gradients, and sums of products", arguments: counts)
    func swiglu(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let gate = generator.floats(count, in: -6...6)
        let up = generator.floats(count)
        let dz = generator.floats(count)
        let found = everyVersion { kernels in
            let (a, b, d) = (GuardedMemory(gate), GuardedMemory(up), GuardedMemory(dz))
            kernels.swiglu_gradient(d.pointer, a.pointer, b.pointer, count, a.pointer, b.pointer)
            kernels.add_product(a.pointer, b.pointer, count, d.pointer)
            return a.array + b.array + d.array
        }
        let expected = zip(zip(gate, up), dz).map { pair, d -> (Double, Double) in
            let (a, b, d) = (Double(pair.0), Double(pair.1), Double(d))
            let sigmoid = 1 / (1 + exp(-a))
            return (d * b * sigmoid * (1 + a * (1 - sigmoid)), d * a * sigmoid)
        }
        expectClose(Array(found[..<count]), expected.map(\.0))
        expectClose(Array(found[count..<2 * count]), expected.map(\.1))
        expectClose(Array(found[(2 * count)...]), zip(dz, expected).map { Double($0) + $1.0 * $1.1 })
    }

    @Test("The direction loss of a row and its gradient", arguments: counts)
    func directionLoss(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let t = generator.floats(count, in: -3...3)
        let s = generator.floats(count, in: -3...3)
        let found = everyVersion { kernels in
            let (a, b) = (GuardedMemory(t), GuardedMemory(s))
            let gradient = GuardedMemory<Float>(count: count, fill: 0)
            let loss = kernels.direction_loss(a.pointer, b.pointer, count, 0.5, gradient.pointer)
            let zero = GuardedMemory<Float>(count: count, fill: 0)
            let ofZero = kernels.direction_loss(a.pointer, zero.pointer, count, 0.5, zero.pointer)
            #expect(ofZero.isFinite && zero.array.allSatisfy(\.isFinite))
            return gradient.array + [loss]
        }
        func loss(_ s: [Double]) -> Double {
            func unit(_ x: [Double]) -> [Double] {
                let norm = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
                return x.map { $0 / norm }
            }
            return zip(unit(t.map(Double.init)), unit(s)).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        let s64 = s.map(Double.init)
        #expect(abs(Double(found[count]) - loss(s64)) < 1e-5)
        if count > 1 { expectClose(Array(found[..<count]), numericGradient(s64, [0.5]) { [loss($0)] }, within: 2e-4) }
    }

    @Test("The loss of a row of logits: divergence, cross entropy, both, and their gradient", arguments: counts)
    func logitLoss(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let t = generator.floats(count, in: -9...9)
        let s = generator.floats(count, in: -9...9)
        func logProbabilities(_ x: [Float]) -> [Double] {
            let sum = log(x.reduce(0) { $0 + exp(Double($1)) })
            return x.map { Double($0) - sum }
        }
        let (logT, logS) = (logProbabilities(t), logProbabilities(s))
        for (hasTeacher, target) in [(true, -1), (false, count / 2), (true, count - 1)] {
            let found = everyVersion { kernels in
                let (student, teacher) = (GuardedMemory(s), GuardedMemory(t))
                let loss = kernels.logit_loss(
                    student.pointer, hasTeacher ? teacher.pointer : nil, count, 0.3, target, 0.7)
                return student.array + [Float(loss.divergence), Float(loss.cross_entropy)]
            }
            let divergence = hasTeacher ? zip(logT, logS).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) } : 0
            let crossEntropy = target >= 0 ? -logS[target] : 0
            expectClose([found[count], found[count + 1]], [divergence, crossEntropy])
            expectClose(
                Array(found[..<count]),
                (0..<count).map { token in
                    (hasTeacher ? 0.3 * (exp(logS[token]) - exp(logT[token])) : 0)
                        + (target >= 0 ? 0.7 * (exp(logS[token]) - (token == target ? 1 : 0)) : 0)
                })
        }
    }

    @Test(
        "Products of a transposed matrix are added, of any shape and beside other columns",
        arguments: [(1, 1, 1), (3, 13, 17), (7, 24, 32), (300, 25, 50), (256, 12, 16), (31, 37, 95)])
    func addTransposedProduct(depth: Int, rows: Int, columns: Int) {
        var generator = TestGenerator(state: UInt64(depth * 10_000 + rows * 100 + columns))
        let (aStride, bStride, cStride) = (rows + 2, columns + 1, columns + 3)
        let a = Array(generator.floats(depth * aStride).prefix((depth - 1) * aStride + rows))
        let b = Array(generator.floats(depth * bStride).prefix((depth - 1) * bStride + columns))
        let c = Array(generator.floats(rows * cStride).prefix((rows - 1) * cStride + columns))
        var expected = c.map(Double.init)
        for k in 0..<depth {
            for r in 0..<rows {
                for n in 0..<columns {
                    expected[r * cStride + n] += Double(a[k * aStride + r]) * Double(b[k * bStride + n])
                }
            }
        }
        for kernels in availableKernels() {
            let (left, right, sum) = (GuardedMemory(a), GuardedMemory(b), GuardedMemory(c))
            kernels.pointee.add_transposed_product(
                left.pointer, aStride, right.pointer, bStride, depth, rows, columns, sum.pointer, cStride)
            withExtendedLifetime((left, right)) {}
            expectClose(sum.array, expected)
            #expect(sum.array.indices.allSatisfy { $0 % cStride < columns || sum.array[$0] == c[$0] })
        }
    }

    @Test("A row of logits with NaN has a loss and gradients of NaN")
    func notFinite() {
        for kernels in availableKernels() {
            for position in [0, 20, 33] {
                var s = [Float](repeating: 0.5, count: 34)
                s[position] = .nan
                var t = [Float](repeating: 0.25, count: 34)
                let loss = kernels.pointee.logit_loss(&s, &t, 34, 1, -1, 0)
                #expect(loss.divergence.isNaN, "\(name(kernels)), \(position)")
            }
        }
    }
}
