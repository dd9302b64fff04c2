import CSignKernels
import Foundation
import Testing

/// Products with matrices in 8 bits: exact sums, the same bits in every version.
@Suite struct Int8ProductTests {
    @Test(
        "Products equal exact sums, whatever the width and the number of tokens",
        arguments: [1, 2, 15, 16, 31, 32, 33, 63, 64, 97, 127, 128, 129, 172, 576, 1000, 2047, 2048, 2049, 5000])
    func product(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        let rows = 19
        let tokens = 6
        let weights = GuardedMemory((0..<rows * columns).map { _ in Int8.random(in: -128...127, using: &generator) })
        let q = GuardedMemory((0..<tokens * columns).map { _ in Int16.random(in: -32767...32767, using: &generator) })
        let scales = GuardedMemory(generator.floats(rows))
        let inputs = GuardedMemory(generator.floats(tokens))
        let expected = (0..<tokens).flatMap { t in
            (0..<rows).map { r in
                Float(
                    (0..<columns).reduce(Int64(0)) {
                        $0 + Int64(weights.pointer[r * columns + $1]) * Int64(q.pointer[t * columns + $1])
                    }) * inputs.pointer[t] * scales.pointer[r]
            }
        }
        for kernels in availableKernels() {
            // One by one, and together in two ranges of rows.
            for tokensAtOnce in [1, 4, tokens] {
                let y = GuardedMemory<Float>(count: tokens * rows, fill: .nan)
                for first in stride(from: 0, to: tokens, by: tokensAtOnce) {
                    for range in [0..<7, 7..<rows] {
                        kernels.pointee.int8_product(
                            weights.pointer, scales.pointer, columns, range.lowerBound, range.upperBound,
                            q.pointer + first * columns, columns, inputs.pointer + first,
                            min(tokensAtOnce, tokens - first), y.pointer + first * rows, rows)
                    }
                }
                #expect(y.array == expected, "\(name(kernels)), \(tokensAtOnce) at once")
            }
        }
    }

    @Test("The largest sums do not overflow", arguments: [(Int8(-128), Int16(-32767)), (-128, 32767), (127, 32767)])
    func extremes(weight: Int8, input: Int16) {
        for columns in [2048, 65_536] {
            let weights = [Int8](repeating: weight, count: columns)
            let q = [Int16](repeating: input, count: columns)
            let expected = Float(Int64(weight) * Int64(input) * Int64(columns))
            for kernels in availableKernels() {
                var y: Float = 0
                kernels.pointee.int8_product(
                    weights, [1], columns, 0, 1, q, columns, [1], 1, &y, 1)
                #expect(y == expected, "\(name(kernels))")
            }
        }
    }
}
