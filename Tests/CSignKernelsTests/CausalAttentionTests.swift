import CSignKernels
import Foundation
import Testing

/// Causal attention and its gradient: right within rounding in every version, in exactly the memory that the header names.
@Suite struct CausalAttentionTests {
    static let shapes = [(1, 1), (2, 3), (5, 8), (17, 16), (24, 20), (25, 64), (49, 31), (97, 33), (130, 64)]

    /// A head of `tokens` rows of `size` numbers, in double precision.
    private struct Head {
        var rows: [[Double]]

        init(_ values: [Float], size: Int, stride: Int) {
            rows = Swift.stride(from: 0, to: values.count, by: stride).map { start in
                values[start..<start + size].map(Double.init)
            }
        }
    }

    /// Weights and their slope by the scores before the cap, without the softmax's part.
    private func weights(
        _ q: Head, _ k: Head, scale: Double, cap: Double
    ) -> (weights: [[Double]], slopes: [[Double]], logSums: [Double]) {
        var (weights, slopes, logSums): ([[Double]], [[Double]], [Double]) = ([], [], [])
        for t in q.rows.indices {
            var scores = (0...t).map { p in zip(q.rows[t], k.rows[p]).reduce(0) { $0 + $1.0 * $1.1 } * scale }
            slopes.append(scores.map { cap == 0 ? 1 : 1 - pow(tanh($0 / cap), 2) })
            if cap != 0 { scores = scores.map { cap * tanh($0 / cap) } }
            let largest = scores.max()!
            let logSum = largest + log(scores.reduce(0) { $0 + exp($1 - largest) })
            logSums.append(logSum)
            weights.append(scores.map { exp($0 - logSum) })
        }
        return (weights, slopes, logSums)
    }

    private func output(_ weights: [[Double]], _ v: Head) -> [[Double]] {
        weights.map { row in
            v.rows[0].indices.map { d in row.indices.reduce(0) { $0 + row[$1] * v.rows[$1][d] } }
        }
    }

    private func expectClose(_ found: [Double], _ expected: [Double], _ what: String) {
        let scale = max(expected.map(\.magnitude).max() ?? 0, 1e-3)
        #expect(found.count == expected.count)
        let worst = zip(found, expected).map { abs($0 - $1) }.max() ?? 0
        #expect(worst <= 2e-5 * scale, "\(what)")
    }

    @Test(
        "Outputs, sums and gradients are those of their formulas, scores capped or not", arguments: shapes, [0, 1.5])
    func formulas(shape: (tokens: Int, size: Int), cap: Double) {
        let (tokens, size) = shape
        var generator = TestGenerator(state: UInt64(tokens * 100 + size))
        let stride = size + 3  // rows of several heads lie between one another
        func head(in range: ClosedRange<Float>) -> [Float] {
            Array(generator.floats(tokens * stride, in: range).prefix((tokens - 1) * stride + size))
        }
        let (q, k, v, dy) = (head(in: -3...3), head(in: -3...3), head(in: -1...1), head(in: -1...1))
        let scale = 1 / Double(size).squareRoot()
        let (qs, ks, vs, dys) = (
            Head(q, size: size, stride: stride), Head(k, size: size, stride: stride),
            Head(v, size: size, stride: stride), Head(dy, size: size, stride: stride)
        )
        let (p, slopes, logSums) = weights(qs, ks, scale: scale, cap: cap)
        let ys = output(p, vs)
        // dS = P ⊙ (dP − Σ dY ⊙ Y) · scale, times the cap's slope
        var (dq, dk, dv) = (qs.rows.map { $0.map { _ in 0.0 } }, qs.rows.map { $0.map { _ in 0.0 } }, ys)
        dv = dv.map { $0.map { _ in 0 } }
        for t in 0..<tokens {
            let mean = zip(dys.rows[t], ys[t]).reduce(0) { $0 + $1.0 * $1.1 }
            for j in 0...t {
                let dp = zip(dys.rows[t], vs.rows[j]).reduce(0) { $0 + $1.0 * $1.1 }
                let ds = p[t][j] * (dp - mean) * slopes[t][j] * scale
                for d in 0..<size {
                    dv[j][d] += p[t][j] * dys.rows[t][d]
                    dq[t][d] += ds * ks.rows[j][d]
                    dk[j][d] += ds * qs.rows[t][d]
                }
            }
        }
        for kernels in availableKernels() {
            let version = name(kernels)
            let inputs = [q, k, v, dy].map { GuardedMemory($0) }
            func rows(_ memory: GuardedMemory<Float>) -> sign_kernels_head_rows {
                sign_kernels_head_rows(rows: memory.pointer, stride: stride)
            }
            func result() -> GuardedMemory<Float> { GuardedMemory(count: q.count, fill: 7) }
            func numbers(_ memory: GuardedMemory<Float>) -> [Double] {
                Head(memory.array, size: size, stride: stride).rows.flatMap { $0 }
            }
            let (y, sums) = (result(), GuardedMemory<Float>(count: tokens, fill: 0))
            let scratch = GuardedMemory<Float>(count: sign_kernels_causal_attention_scratch(tokens, size), fill: .nan)
            kernels.pointee.causal_attention(
                rows(inputs[0]), rows(inputs[1]), rows(inputs[2]), tokens, size, Float(scale), Float(cap),
                scratch.pointer, y.pointer, stride, sums.pointer)
            expectClose(numbers(y), ys.flatMap { $0 }, "\(version): y")
            expectClose(sums.array.map(Double.init), logSums, "\(version): logarithms of sums")

            let gradients = (result(), result(), result())
            let more = GuardedMemory<Float>(
                count: sign_kernels_causal_attention_gradient_scratch(tokens, size), fill: .nan)
            kernels.pointee.causal_attention_gradient(
                rows(inputs[0]), rows(inputs[1]), rows(inputs[2]), rows(y), sums.pointer, rows(inputs[3]), tokens, size,
                Float(scale), Float(cap), more.pointer, gradients.0.pointer, gradients.1.pointer, gradients.2.pointer,
                stride)
            expectClose(numbers(gradients.0), dq.flatMap { $0 }, "\(version): dq")
            expectClose(numbers(gradients.1), dk.flatMap { $0 }, "\(version): dk")
            expectClose(numbers(gradients.2), dv.flatMap { $0 }, "\(version): dv")
            withExtendedLifetime((inputs, y, sums, scratch, more, gradients)) {}
            // What lies between the rows is another head's.
            for memory in [y, gradients.0, gradients.1, gradients.2] {
                #expect(memory.array.indices.allSatisfy { $0 % stride < size || memory.array[$0] == 7 }, "\(version)")
            }
        }
    }

    @Test("Large scores do not overflow, and NaN comes out as NaN of the tokens that see it")
    func extremes() {
        let (tokens, size) = (30, 16)
        for kernels in availableKernels() {
            var q = [Float](repeating: 300, count: tokens * size)
            let k = q
            var v = [Float](repeating: 1, count: tokens * size)
            var (y, sums) = (v, [Float](repeating: 0, count: tokens))
            var scratch = [Float](repeating: 0, count: sign_kernels_causal_attention_scratch(tokens, size))
            func run() {
                k.withUnsafeBufferPointer { keys in
                    q.withUnsafeBufferPointer { queries in
                        v.withUnsafeBufferPointer { values in
                            kernels.pointee.causal_attention(
                                sign_kernels_head_rows(rows: queries.baseAddress!, stride: size),
                                sign_kernels_head_rows(rows: keys.baseAddress!, stride: size),
                                sign_kernels_head_rows(rows: values.baseAddress!, stride: size), tokens, size, 0.25,
                                0, &scratch, &y, size, &sums)
                        }
                    }
                }
            }
            run()
            #expect(y.allSatisfy { abs($0 - 1) < 1e-5 }, "\(name(kernels))")
            q[20 * size] = .nan
            run()
            #expect(y[20 * size].isNaN && y[0].isFinite && y[21 * size].isFinite, "\(name(kernels))")
            v[3 * size + 5] = .infinity
            run()
            #expect(!y[3 * size + 5].isFinite && y[2 * size + 4].isFinite, "\(name(kernels))")
        }
    }
}
