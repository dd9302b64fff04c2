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
            let wideScale = kernels.pointee.quantize_16bit(x, g, columns, &wide, padded)
            #expect(wideScale.scale == largest / 32767)
            #expect(wideScale.magnitude == wide.reduce(0) { $0 + Int32($1.magnitude) })
            let wideInverse = 32767 / largest
            #expect(
                wide == products.map { Int16(($0 * wideInverse).rounded(.toNearestOrEven)) }
                    + [Int16](repeating: 0, count: padded - columns)
            )
            #expect(wide.map(\.magnitude).max() == 32767)
        }
    }

    @Test(
        "With 10 bits the four largest inputs are outliers, and the largest of the others sets the scale",
        arguments: [1, 4, 5, 15, 16, 17, 64, 172, 1001, 4099])
    func outliers(columns: Int) {
        var generator = TestGenerator(state: 7)
        let padded = (columns + 47) / 48 * 48
        for spread in [Float(1), 3, 40, 1e4] {
            var x = generator.floats(columns, in: -5...5)
            for _ in 0..<6 { x[Int.random(in: 0..<columns, using: &generator)] *= spread }
            let g = generator.floats(columns)
            let products = zip(x, g).map { $0 * $1 }
            // Magnitudes fall, equal ones from left to right.
            let ranks = products.indices.sorted {
                (products[$0].magnitude, -$0) > (products[$1].magnitude, -$1)
            }
            let largest = products[ranks[0]].magnitude
            let next = ranks.count > 4 ? products[ranks[4]].magnitude : 0
            let isNext = next / 682 >= largest / 32767
            let inverse = isNext ? 682 / next : 32767 / largest
            let expected = products.map { Int16(($0 * inverse).rounded(.toNearestOrEven)) }
            for kernels in availableKernels() {
                var q = [Int16](repeating: 99, count: padded)
                let quantized = kernels.pointee.quantize_10bit(x, g, columns, &q, padded)
                #expect(quantized.scale == (isNext ? next / 682 : largest / 32767))
                #expect(quantized.magnitude == expected.reduce(0) { $0 + Int32($1.magnitude) })
                #expect(q == expected + [Int16](repeating: 0, count: padded - columns), "\(name(kernels))")
                let slots = quantized.outliers
                let outliers = [slots.0, slots.1, slots.2, slots.3]
                    .filter { $0 != SIGN_KERNELS_NO_OUTLIER }.map(Int.init)
                #expect(Set(outliers) == Set(expected.indices.filter { expected[$0].magnitude > 682 }))
            }
        }
    }

    @Test("Equal inputs have no outliers: all of them are of the largest level")
    func equalInputs() {
        for kernels in availableKernels() {
            let x = (0..<100).map { $0 % 3 == 0 ? Float(-2.5) : 2.5 }
            var q = [Int16](repeating: 0, count: 144)
            let quantized = kernels.pointee.quantize_10bit(x, [Float](repeating: 1, count: 100), 100, &q, 144)
            #expect(quantized.magnitude == 68200)
            #expect(quantized.outliers.0 == SIGN_KERNELS_NO_OUTLIER)
        }
    }

    @Test("NaN and infinity make the scale NaN; all but zero gives zeros", arguments: [Float.nan, .infinity, 0, 1e-38])
    func specialInputs(value: Float) {
        for kernels in availableKernels() {
            var x = [Float](repeating: value.isFinite ? value : 1, count: 20)
            x[18] = value
            let g = [Float](repeating: 1, count: 20)
            var q = [Int16](repeating: 5, count: 32)
            let quantized = kernels.pointee.quantize_16bit(x, g, 20, &q, 32)
            let scale = quantized.scale
            #expect(quantized.magnitude == 0)
            #expect(value.isFinite ? scale == 0 : scale.isNaN)
            #expect(q == [Int16](repeating: 0, count: 32))
            var mixed = [Int16](repeating: 5, count: 32)
            let other = kernels.pointee.quantize_10bit(x, g, 20, &mixed, 32)
            #expect(value.isFinite ? other.scale == 0 : other.scale.isNaN)
            #expect(mixed == q)
        }
    }

    @Test("Inputs near the largest float survive")
    func hugeInputs() {
        for kernels in availableKernels() {
            var q = [Int16](repeating: 0, count: 32)
            let scale = kernels.pointee.quantize_16bit([3e38, -1.5e38], [1, 1], 2, &q, 32).scale
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
