import Testing

@testable import Torch

/// The OneBit layer by look-ups, against the same layer by products of floats.
@Suite("Look-up products")
struct LookUpProductTests {
    private let generator: Generator

    init() throws { generator = try Generator(seed: 21) }

    private func random(_ shape: [Int]) throws -> Tensor { try .randn(shape, using: generator) }

    /// Output and gradients by x, g, h and the product, as numbers.
    private func layer(
        _ signs: SignMatrix, _ x: Tensor, _ g: Tensor, _ h: Tensor, upstream: Tensor, _ products: SignProducts
    ) throws -> [(name: String, values: [Float])] {
        let leaves = try [x, g, h].map { try $0.requiringGradient() }
        let carrier = try Tensor.gradientCarrier(shape: [signs.rows, signs.columns])
        let y = try leaves[0].signLinear(
            signs, inputScale: leaves[1], outputScale: leaves[2], product: carrier, layerNormEpsilon: nil,
            products: products)
        let gradients = try y.gradients(by: leaves + [carrier], upstream: upstream)
        return try zip(["y", "dx", "dg", "dh", "P"], [y] + gradients.compactMap(\.self)).map { ($0, try $1.floats()) }
    }

    @Test(
        "Output and gradients are those of float products, but for the rounding to 16 bits",
        arguments: [(200, 250), (577, 300), (256, 1000), (300, 33), (33, 300)])
    func rounding(rows: Int, columns: Int) throws {
        let signs = try SignMatrix(signsOf: random([rows, columns]))
        let (x, g, h) = (try random([19, columns]), try random([columns]), try random([rows]))
        let upstream = try random([19, rows])
        let fast = try layer(signs, x, g, h, upstream: upstream, .fastest)
        let exact = try layer(signs, x, g, h, upstream: upstream, .float)
        for (found, expected) in zip(fast, exact) {
            let largest = expected.values.map(abs).max() ?? 0
            let difference = zip(found.values, expected.values).map { abs($0 - $1) }.max() ?? 0
            #expect(difference < 2e-4 * largest, "\(found.name): \(difference) of \(largest)")
        }
        // At worst every input is off by half a step, 1 / 65,534 of the row's largest.
        let (xs, gs, hs) = (try x.floats(), try g.floats(), try h.floats())
        for index in fast[0].values.indices {
            let row = index / rows
            let largest = (0..<columns).map { abs(xs[row * columns + $0] * gs[$0]) }.max() ?? 0
            let bound = abs(hs[index % rows]) * Float(columns) * largest * (1 / 65534 + 2e-6)
            #expect(abs(fast[0].values[index] - exact[0].values[index]) <= bound)
        }
    }

    @Test("A token's result does not depend on the tokens beside it, nor on threads")
    func independence() throws {
        let signs = try SignMatrix(signsOf: random([320, 210]))
        let (x, g, h) = (try random([21, 210]), try random([210]), try random([320]))
        func output(_ x: Tensor) throws -> [Float] {
            try x.signLinear(signs, inputScale: g, outputScale: h, layerNormEpsilon: nil).floats()
        }
        let whole = try output(x)
        for row in [0, 7, 20] {
            let alone = try output(x.narrowed(0, from: row, length: 1))
            #expect(alone == Array(whole[row * 320..<(row + 1) * 320]))
        }
        setOperationThreads(3)
        #expect(try output(x) == whole)
        setOperationThreads(1)
        #expect(try output(x) == whole)
    }

    @Test("An input that is not finite shows in the output")
    func notFinite() throws {
        let signs = try SignMatrix(signsOf: random([256, 64]))
        var x = try random([2, 64]).floats()
        x[70] = .nan
        let y = try Tensor.floats(x, shape: [2, 64]).signLinear(
            signs, inputScale: random([64]), outputScale: random([256]), layerNormEpsilon: nil)
        let values = try y.floats()
        #expect(values[..<256].allSatisfy(\.isFinite) && values[256...].allSatisfy(\.isNaN))
    }
}
