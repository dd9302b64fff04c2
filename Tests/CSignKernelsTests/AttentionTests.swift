import CSignKernels
import Foundation
import Testing

/// Attention over parts of the positions: right within rounding, whoever computes which part, and the same bits in every
/// version. All memory ends at a guard page.
@Suite struct AttentionTests {
    private static let partPositions = Int(SIGN_KERNELS_ATTENTION_POSITIONS)

    /// Keys or values of one head.
    private struct Cached {
        let rows: sign_kernels_cached_rows
        /// What they stand for, [position][channel].
        let values: [[Double]]
        private let owner: [AnyObject]

        /// - Parameter stride: elements of a row, or nil for as few as there may be.
        init(
            positions: Int, size: Int, isInt8: Bool, extraStride: Int, using generator: inout TestGenerator
        ) {
            let padding = Int(isInt8 ? SIGN_KERNELS_INT8_HEAD_PADDING : SIGN_KERNELS_HEAD_PADDING)
            let padded = (size + padding - 1) / padding * padding
            let stride = padded + extraStride
            let count = (positions - 1) * stride + padded
            var values = [[Double]](repeating: [], count: positions)
            if isInt8 {
                let scales = generator.floats(positions, in: 0.001...0.01)
                var bytes = [Int8](repeating: 0, count: count)
                for position in 0..<positions {
                    for channel in 0..<size {
                        let value = Int8.random(in: -127...127, using: &generator)
                        bytes[position * stride + channel] = value
                        values[position].append(Double(value) * Double(scales[position]))
                    }
                }
                let (memory, scaleMemory) = (GuardedMemory(bytes), GuardedMemory(scales))
                rows = sign_kernels_cached_rows(rows: memory.pointer, scales: scaleMemory.pointer, stride: stride)
                owner = [memory, scaleMemory]
            } else {
                var halves = [UInt16](repeating: 0, count: count)
                for position in 0..<positions {
                    for channel in 0..<size {
                        let value = Float16(Float.random(in: -1...1, using: &generator))
                        halves[position * stride + channel] = value.bitPattern
                        values[position].append(Double(value))
                    }
                }
                let memory = GuardedMemory(halves)
                rows = sign_kernels_cached_rows(rows: memory.pointer, scales: nil, stride: stride)
                owner = [memory]
            }
            self.values = values
        }

        /// From a position on.
        func from(_ position: Int) -> sign_kernels_cached_rows {
            let width = rows.scales == nil ? 2 : 1
            return sign_kernels_cached_rows(
                rows: rows.rows + position * rows.stride * width, scales: rows.scales.map { $0 + position },
                stride: rows.stride)
        }
    }

    /// Attention of some tokens of `width` floats, [tokens][heads · size].
    private func attention(
        _ kernels: sign_kernels_table, _ q: UnsafePointer<Float>, width: Int, tokens: Range<Int>, heads: Int,
        _ keys: Cached, _ values: Cached, positions: Int, size: Int, cap: Float
    ) -> [Float] {
        let rows = tokens.count * heads
        let scratch = GuardedMemory<Float>(
            count: Int(SIGN_KERNELS_ATTENTION_ROWS) * (Self.partPositions + size + 15), fill: .nan)
        let sums = GuardedMemory<Float>(count: rows * (size + 2), fill: 0)
        for row in 0..<rows { sums.pointer[row * (size + 2) + size] = -.infinity }
        for begin in stride(from: 0, to: positions + tokens.upperBound - 1, by: Self.partPositions) {
            let part = GuardedMemory<Float>(count: rows * (size + 2), fill: .nan)
            kernels.attention(
                q + tokens.lowerBound * width, width, tokens.count, heads, keys.from(begin), values.from(begin),
                positions + tokens.lowerBound - begin, size, 0.3, cap, scratch.pointer, part.pointer)
            kernels.attention_merge(part.pointer, rows, size, sums.pointer)
        }
        return (0..<rows).flatMap { row -> [Float] in
            let sums = sums.pointer + row * (size + 2)
            return (0..<size).map { sums[$0] / sums[size + 1] }
        }
    }

    @Test(
        "Several heads and tokens, over one part of the positions and over several, scores capped or not",
        arguments: [
            (1, 8, 1, 1), (5, 8, 3, 2), (40, 6, 2, 1), (33, 64, 5, 4), (17, 80, 1, 3), (255, 16, 1, 1),
            (256, 128, 1, 1),
            (257, 96, 1, 2), (254, 10, 8, 1), (600, 34, 8, 3), (700, 128, 1, 8),
        ], [false, true])
    func attention(shape: (positions: Int, size: Int, tokens: Int, heads: Int), isInt8: Bool) {
        let (positions, size, tokens, heads) = shape
        var generator = TestGenerator(state: UInt64(positions + size))
        for (extraStride, cap) in [(0, Float(0)), (3, 0), (3, 2.5)] {
            let width = heads * size + 5
            let q = GuardedMemory(generator.floats((tokens - 1) * width + heads * size, in: -3...3))
            let count = positions + tokens - 1
            let keys = Cached(
                positions: count, size: size, isInt8: isInt8, extraStride: extraStride, using: &generator)
            let values = Cached(
                positions: count, size: size, isInt8: isInt8, extraStride: extraStride, using: &generator)
            let expected = (0..<tokens).flatMap { token in
                (0..<heads).flatMap { head -> [Double] in
                    let scores = (0..<positions + token).map { p in
                        (0..<size).reduce(0.0) {
                            $0 + Double(q.pointer[token * width + head * size + $1]) * keys.values[p][$1]
                        } * 0.3
                    }.map { cap == 0 ? $0 : Double(cap) * tanh($0 / Double(cap)) }
                    let weights = scores.map { exp($0 - scores.max()!) }
                    let total = weights.reduce(0, +)
                    return (0..<size).map { channel in
                        (0..<positions + token).reduce(0.0) { $0 + weights[$1] / total * values.values[$1][channel] }
                    }
                }
            }
            var first: [Float]?
            for kernels in availableKernels() {
                let found = attention(
                    kernels.pointee, q.pointer, width: width, tokens: 0..<tokens, heads: heads, keys, values,
                    positions: positions, size: size, cap: cap)
                let oneByOne = (0..<tokens).flatMap {
                    attention(
                        kernels.pointee, q.pointer, width: width, tokens: $0..<$0 + 1, heads: heads, keys, values,
                        positions: positions, size: size, cap: cap)
                }
                #expect(oneByOne == found, "a token alone and among others must give the same bits")
                #expect(found == first ?? found, "\(name(kernels))")
                first = found
                let scale = expected.map(\.magnitude).max()!
                // Queries of 14 bits and weights of 15 where keys and values have 8.
                for (a, b) in zip(found, expected) {
                    #expect(abs(Double(a) - b) < (isInt8 ? 1e-3 : 3e-6) * scale, "\(name(kernels))")
                }
            }
        }
    }

    @Test("A part without positions changes no sum, and NaN is not lost", arguments: [false, true])
    func emptyAndDamaged(isInt8: Bool) {
        var generator = TestGenerator(state: 4)
        let size = 20
        let keys = Cached(positions: 3, size: size, isInt8: isInt8, extraStride: 0, using: &generator)
        let values = Cached(positions: 3, size: size, isInt8: isInt8, extraStride: 0, using: &generator)
        for kernels in availableKernels() {
            let scratch = GuardedMemory<Float>(
                count: Int(SIGN_KERNELS_ATTENTION_ROWS) * (Self.partPositions + size + 15), fill: .nan)
            let part = GuardedMemory<Float>(count: size + 2, fill: .nan)
            let sums = GuardedMemory(generator.floats(size + 2, in: 0.5...1))
            for positions in [0, -7] {
                kernels.pointee.attention(
                    generator.floats(size), size, 1, 1, keys.rows, values.rows, positions, size, 1, 0,
                    scratch.pointer, part.pointer)
                #expect(part.array == [Float](repeating: 0, count: size) + [-.infinity, 0])
                let before = sums.array
                kernels.pointee.attention_merge(part.pointer, 1, size, sums.pointer)
                #expect(sums.array == before)
            }
            let q = (0..<size).map { $0 == 7 ? Float.nan : 1 }
            for cap: Float in [0, 2] {
                kernels.pointee.attention(
                    q, size, 1, 1, keys.rows, values.rows, 3, size, 1, cap, scratch.pointer, part.pointer)
                #expect(part.array[..<size].allSatisfy { $0.isNaN } && part.array[size + 1].isNaN)
            }
        }
    }

    @Test("Rounding to 8 and 16 bits: ties to even, one scale, zeros behind", arguments: [1, 15, 16, 17, 50])
    func rounding(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let x = GuardedMemory(generator.floats(count, in: -5...5))
        let largest = x.array.map(\.magnitude).max()!
        for kernels in availableKernels() {
            for padded in [count, count + 1, 64] {
                let bytes = GuardedMemory<Int8>(count: padded, fill: 1)
                #expect(kernels.pointee.round_int8(x.pointer, count, bytes.pointer, padded) == largest / 127)
                let words = GuardedMemory<Int16>(count: padded, fill: 1)
                #expect(kernels.pointee.round_int16(x.pointer, count, words.pointer, padded) == largest / 32767)
                for (index, value) in x.array.enumerated() {
                    #expect(Float(bytes.array[index]) == (value * (127 / largest)).rounded(.toNearestOrEven))
                    #expect(Float(words.array[index]) == (value * (32767 / largest)).rounded(.toNearestOrEven))
                }
                #expect(bytes.array[count...].allSatisfy { $0 == 0 } && words.array[count...].allSatisfy { $0 == 0 })
            }
            var q = [Int8](repeating: 1, count: 3)
            #expect(kernels.pointee.round_int8([1, .nan, 2], 3, &q, 3).isNaN && q == [0, 0, 0])
            #expect(kernels.pointee.round_int8([1, -.infinity, 2], 3, &q, 3).isNaN && q == [0, 0, 0])
            #expect(kernels.pointee.round_int8([1e-31, 0, 0], 3, &q, 3) == 0 && q == [0, 0, 0])
        }
    }
}
