import CSignKernels
import Foundation
import Testing

@Suite struct QuantizationTests {
    @Test(
        "Inputs are scaled by g and rounded to the nearest integer, ties to even, in every version alike",
        arguments: [1, 15, 16, 17, 64, 172, 1001]
    )
    func rounding(columns: Int) {
        var generator = TestGenerator(state: 3)
        let x = generator.floats(columns, in: -5...5)
        let g = generator.floats(columns)
        let padded = (columns + 47) / 48 * 48
        let products = zip(x, g).map { $0 * $1 }
        let largest = products.map(\.magnitude).max()!
        for kernels in availableKernels() {
            var wide = [Int16](repeating: 99, count: padded)
            let wideScale = kernels.pointee.quantize_int16(x, g, columns, &wide, padded)
            #expect(wideScale.scale == largest / 32767)
            #expect(wideScale.magnitude == wide.reduce(0) { $0 + Int32($1.magnitude) })
            let wideInverse = 32767 / largest
            #expect(
                wide == products.map { Int16(($0 * wideInverse).rounded(.toNearestOrEven)) }
                    + [Int16](repeating: 0, count: padded - columns)
            )
            #expect(wide.map(\.magnitude).max() == 32767)

            var narrow = [Int8](repeating: 99, count: padded)
            let narrowScale = kernels.pointee.quantize_int8(x, g, columns, &narrow, padded)
            #expect(narrowScale.scale == largest / 127)
            #expect(narrowScale.magnitude == narrow.reduce(0) { $0 + Int32($1.magnitude) })
            let narrowInverse = 127 / largest
            #expect(
                narrow == products.map { Int8(($0 * narrowInverse).rounded(.toNearestOrEven)) }
                    + [Int8](repeating: 0, count: padded - columns)
            )
        }
    }

    @Test("NaN and infinity make the scale NaN; all but zero gives zeros", arguments: [Float.nan, .infinity, 0, 1e-38])
    func specialInputs(value: Float) {
        for kernels in availableKernels() {
            var x = [Float](repeating: value.isFinite ? value : 1, count: 20)
            x[18] = value
            let g = [Float](repeating: 1, count: 20)
            var q = [Int16](repeating: 5, count: 32)
            let quantized = kernels.pointee.quantize_int16(x, g, 20, &q, 32)
            let scale = quantized.scale
            #expect(quantized.magnitude == 0)
            #expect(value.isFinite ? scale == 0 : scale.isNaN)
            #expect(q == [Int16](repeating: 0, count: 32))
        }
    }

    @Test("Inputs near the largest float survive")
    func hugeInputs() {
        for kernels in availableKernels() {
            var q = [Int16](repeating: 0, count: 32)
            let scale = kernels.pointee.quantize_int16([3e38, -1.5e38], [1, 1], 2, &q, 32).scale
            #expect(scale.isFinite)
            #expect(q[0] == 32767)
            #expect(q[1] == -16384 || q[1] == -16383)
        }
    }

    @Test("Dequantization multiplies by the token's scale and the row's")
    func dequantize() {
        for kernels in availableKernels() {
            let q = (0..<37).map { Int32($0 * 1000 - 7) }
            let h = (0..<37).map { Float($0) / 8 }
            var y = [Float](repeating: 0, count: 37)
            kernels.pointee.dequantize(q, 0.25, h, 37, &y)
            #expect(y == zip(q, h).map { Float($0) * 0.25 * $1 })
        }
    }
}
