import CSignKernels
import Foundation
import Testing

/// Products with dense matrices: right within the rounding of their inputs, in every version that this machine can run.
@Suite struct DenseProductTests {
    private static var versions: [UnsafePointer<sign_kernels_dense_table>] {
        var tables: [UnsafePointer<sign_kernels_dense_table>] = []
        var index = 0
        while let name = sign_kernels_known_dense_name(index) {
            if let table = sign_kernels_find_dense(name) { tables.append(table) }
            index += 1
        }
        return tables
    }

    /// A random matrix as a checkpoint stores it, and the numbers that it holds.
    private func matrix(
        _ type: sign_kernels_float_type, rows: Int, columns: Int, _ generator: inout TestGenerator
    ) -> (bytes: [UInt8], values: [Float]) {
        let floats = generator.floats(rows * columns)
        switch type {
        case SIGN_KERNELS_FLOAT16:
            let halves = floats.map { Float16($0) }
            return (halves.withUnsafeBytes(Array.init), halves.map { Float($0) })
        case SIGN_KERNELS_BFLOAT16:
            let brains = floats.map { UInt16($0.bitPattern >> 16) }
            return (brains.withUnsafeBytes(Array.init), brains.map { Float(bitPattern: UInt32($0) << 16) })
        default: return (floats.withUnsafeBytes(Array.init), floats)
        }
    }

    private func rounded(_ value: Float, _ arithmetic: String) -> Double {
        guard arithmetic == "bfloat16" else { return Double(value) }
        let bits = value.bitPattern
        return Double(Float(bitPattern: (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000))
    }

    @Test(
        "A product is that of the rounded numbers, and an output's bits do not depend on tokens and rows beside it",
        arguments: [1, 2, 15, 16, 31, 33, 64, 171, 1030], [1, 4, 31, 50, 99])
    func product(columns: Int, rows: Int) {
        var generator = TestGenerator(state: UInt64(columns * 1000 + rows))
        for type in [SIGN_KERNELS_FLOAT32, SIGN_KERNELS_FLOAT16, SIGN_KERNELS_BFLOAT16] {
            let (bytes, values) = matrix(type, rows: rows, columns: columns, &generator)
            let x = GuardedMemory(generator.floats(27 * columns))
            // An odd address: weights lie anywhere in a file.
            let stored = GuardedMemory([0] + bytes)
            defer { withExtendedLifetime(x) {} }
            for version in Self.versions {
                let kernels = version.pointee
                let name = String(cString: kernels.name)
                let arithmetic = String(cString: kernels.arithmetic)
                let inputBytes = kernels.input_bytes(columns)
                #expect(inputBytes < (columns + Int(SIGN_KERNELS_DENSE_PADDING)) * 4)
                var alone: [UInt32] = []
                for (tokens, part) in [
                    (27, rows), (12, rows), (7, 5), (6, rows), (5, 1), (4, 50), (3, rows), (2, 3), (1, rows),
                ] {
                    let inputs = GuardedMemory<UInt8>(count: tokens * inputBytes, fill: 0xff)
                    for token in 0..<tokens {
                        kernels.pack_input(x.pointer + token * columns, columns, inputs.pointer + token * inputBytes)
                    }
                    let y = GuardedMemory<Float>(count: tokens * rows, fill: .nan)
                    for first in stride(from: 0, to: rows, by: part) {
                        kernels.product(
                            stored.pointer + 1, type, columns, first, min(first + part, rows), inputs.pointer, tokens,
                            y.pointer, rows)
                    }
                    withExtendedLifetime((stored, inputs)) {}
                    let found = y.array
                    if tokens == 27 {
                        alone = found.map(\.bitPattern)
                        #expect(isProduct(found, values, x.array, columns: columns, arithmetic), "\(name)")
                    }
                    #expect(
                        found.map(\.bitPattern) == Array(alone[..<found.count]),
                        "\(name): \(tokens) tokens by \(part) rows")
                }
            }
        }
    }

    /// Whether y is x Wᵀ of the rounded numbers, within the rounding of sums.
    private func isProduct(_ y: [Float], _ w: [Float], _ x: [Float], columns: Int, _ arithmetic: String) -> Bool {
        let weights = w.map { rounded($0, arithmetic) }
        let inputs = x.map { rounded($0, arithmetic) }
        let rows = w.count / columns
        return y.enumerated().allSatisfy { index, found in
            let (token, row) = index.quotientAndRemainder(dividingBy: rows)
            var (sum, size) = (0.0, 0.0)
            for column in 0..<columns {
                let product = weights[row * columns + column] * inputs[token * columns + column]
                sum += product
                size += abs(product)
            }
            return abs(Double(found) - sum) <= 2e-6 * size
        }
    }

    @Test("NaN and infinity are found at every place", arguments: [1, 31, 32, 33, 64, 99])
    func finite(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        for type in [SIGN_KERNELS_FLOAT32, SIGN_KERNELS_FLOAT16, SIGN_KERNELS_BFLOAT16] {
            let (bytes, _) = matrix(type, rows: 1, columns: count, &generator)
            let width = bytes.count / count
            for version in Self.versions {
                let isFinite = { (bytes: [UInt8]) in
                    let stored = GuardedMemory(bytes)
                    return withExtendedLifetime(stored) { version.pointee.is_finite(stored.pointer, type, count) }
                }
                #expect(isFinite(bytes))
                for place in 0..<count {
                    for sign: UInt8 in [0, 0x80] {
                        var spoiled = bytes
                        // All bits of the exponent: 5 of float16, 8 of the others.
                        spoiled[(place + 1) * width - 1] = 0x7f | sign
                        spoiled[(place + 1) * width - 2] |= 0x80
                        #expect(!isFinite(spoiled), "\(place)")
                    }
                }
            }
        }
    }

    @Test("The portable version is there, and unknown names are not")
    func versions() {
        #expect(Self.versions.last.map { String(cString: $0.pointee.name) } == "portable")
        #expect(sign_kernels_find_dense("abacus") == nil)
    }
}
