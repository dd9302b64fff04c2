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
        "A product is that of the rounded numbers, and an output's bits do not depend on tokens and panels beside it",
        arguments: [1, 2, 15, 16, 31, 33, 64, 171], [1, 31, 32, 70])
    func product(columns: Int, rows: Int) {
        var generator = TestGenerator(state: UInt64(columns * 1000 + rows))
        let panelRows = Int(SIGN_KERNELS_PANEL_ROWS)
        let panelCount = (rows + panelRows - 1) / panelRows
        for type in [SIGN_KERNELS_FLOAT32, SIGN_KERNELS_FLOAT16, SIGN_KERNELS_BFLOAT16] {
            let (bytes, values) = matrix(type, rows: rows, columns: columns, &generator)
            let x = GuardedMemory(generator.floats(27 * columns))
            // An odd address: weights lie anywhere in a file.
            let stored = GuardedMemory([0] + bytes)
            for version in Self.versions {
                let kernels = version.pointee
                let arithmetic = String(cString: kernels.arithmetic)
                let panelType = kernels.panel_type(type)
                let panels = GuardedMemory<UInt8>(
                    count: panelCount * kernels.panel_bytes(panelType, columns), fill: 0xff)
                for panel in 0..<panelCount {
                    kernels.pack(stored.pointer + 1, type, rows, columns, panel, panel + 1, panels.pointer)
                }
                let inputBytes = kernels.input_bytes(columns)
                var alone: [UInt32] = []
                for tokens in [27, 12, 5, 2, 1] {
                    let inputs = GuardedMemory<UInt8>(count: tokens * inputBytes, fill: 0xff)
                    for token in 0..<tokens {
                        kernels.pack_input(x.pointer + token * columns, columns, inputs.pointer + token * inputBytes)
                    }
                    let y = GuardedMemory<Float>(count: tokens * rows, fill: .nan)
                    for panel in stride(from: 0, to: panelCount, by: tokens == 5 ? 1 : panelCount) {
                        kernels.product(
                            panels.pointer, panelType, rows, columns, panel,
                            tokens == 5 ? panel + 1 : panelCount, inputs.pointer, tokens, y.pointer, rows)
                    }
                    let found = y.array
                    if tokens == 27 {
                        alone = found.map(\.bitPattern)
                        for token in 0..<tokens {
                            for row in 0..<rows {
                                var (sum, size) = (0.0, 0.0)
                                for column in 0..<columns {
                                    let product =
                                        rounded(values[row * columns + column], arithmetic)
                                        * rounded(x.pointer[token * columns + column], arithmetic)
                                    sum += product
                                    size += abs(product)
                                }
                                let difference = abs(Double(found[token * rows + row]) - sum)
                                #expect(difference <= 2e-6 * size, "\(String(cString: kernels.name))")
                            }
                        }
                    }
                    #expect(
                        found.map(\.bitPattern) == Array(alone[..<found.count]),
                        "\(String(cString: kernels.name)): \(tokens) tokens")
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
