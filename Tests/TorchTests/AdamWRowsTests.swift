import Foundation
import Testing

@testable import Torch

@Suite("AdamW in place")
struct AdamWRowsTests {
    private static func normal(_ shape: [Int], seed: UInt64) throws -> Tensor {
        try .randn(shape, using: Generator(seed: seed))
    }

    private func settings(_ step: Int = 1, rate: Double = 0.01, seed: UInt64 = 7) -> AdamWSettings {
        AdamWSettings(
            step: step, learningRate: rate, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.01,
            gradientFactor: 1, seed: seed)
    }

    @Test("Values and moments follow Loshchilov & Hutter's equations, and clipping scales the gradient first")
    func equations() throws {
        let rows = try AdamWRows(.floats([1, -2], shape: [1, 2]))
        var (w, m, v) = ([1.0, -2.0], [0.0, 0.0], [0.0, 0.0])
        for step in 1...4 {
            let gradient: [Float] = [Float(step), -0.25]
            var settings = settings(step, rate: 0.1)
            settings.gradientFactor = 0.5
            try rows.step(gradient: .floats(gradient, shape: [1, 2]), settings: settings, firstElement: 0)
            for i in 0..<2 {
                let d = 0.5 * Double(gradient[i])
                m[i] = 0.9 * m[i] + 0.1 * d
                v[i] = 0.98 * v[i] + 0.02 * d * d
                let (mean, variance) = (m[i] / (1 - pow(0.9, Double(step))), v[i] / (1 - pow(0.98, Double(step))))
                w[i] -= 0.1 * (0.01 * w[i] + mean / (variance.squareRoot() + 1e-8))
            }
            let found = try rows.values.floats()
            for i in 0..<2 { #expect(abs(Double(found[i]) - w[i]) < 1e-5, "step \(step)") }
        }
    }

    @Test(
        "dW of latent rows is P ⊙ (h gᵀ) ⊙ sign′(W), for both gradients of the sign", arguments: SignGradient.allCases)
    func latentGradient(sign: SignGradient) throws {
        let (out, columns) = (5, 300)
        let latent = try Self.normal([out, columns], seed: 1) * 0.8
        let product = try Self.normal([out, columns], seed: 2)
        let (h, g) = (try Self.normal([out], seed: 3), try Self.normal([columns], seed: 4))
        let rows = try AdamWRows(latent)
        let scales = LatentScales(outputScale: h, inputScale: g, signGradient: sign)
        let (w, p, hs, gs) = (try latent.floats(), try product.floats(), try h.floats(), try g.floats())
        var sum = 0.0
        for i in 0..<(out * columns) {
            let x = Double(w[i])
            let slope = sign == .tanh ? 1.001 - pow(tanh(x), 2) : (abs(x) < 1 ? 1 : 0)
            let d = Double(p[i]) * Double(hs[i / columns]) * Double(gs[i % columns]) * slope
            sum += d * d
        }
        #expect(abs(try rows.squareSum(of: product, latent: scales).value() / sum - 1) < 1e-5)
        // The first moment after one step is (1 − β₁) dW.
        try rows.step(gradient: product, latent: scales, settings: settings(), firstElement: 0)
        let moment = try rows.state[1].tensor.floats()
        let norm = moment.reduce(0) { $0 + Double($1) * Double($1) } / 0.01
        #expect(abs(norm / sum - 1) < 1e-5)
    }

    @Test("Signs are packed in the checkpoint's order, and those that turned are counted")
    func signs() throws {
        let columns = 13
        let start = try Self.normal([3, columns], seed: 5)
        let rows = try AdamWRows(start, keepsSigns: true)
        let turned = try rows.step(
            gradient: Self.normal([3, columns], seed: 6), settings: settings(rate: 0.5), firstElement: 0
        ).value()
        let (before, after) = (try start.floats(), try rows.values.floats())
        #expect(Int(turned) == zip(before, after).count { ($0 < 0) != ($1 < 0) })
        #expect(turned > 0)
        let bytes = try #require(try rows.signs?.withUnsafeBytes { Array($0) })
        for row in 0..<3 {
            for column in 0..<16 {
                let bit = bytes[row * 2 + column / 8] >> UInt8(column % 8) & 1
                #expect(bit == (column < columns && after[row * columns + column] < 0 ? 1 : 0))
            }
        }
    }

    @Test("Stochastic rounding: the mean is the value, and seed, step and position decide the bits, not the sharding")
    func stochasticRounding() throws {
        // A weight of 1 that moves by a thousandth of a bfloat16's step a hundred times.
        let columns = 4096
        let rows = try AdamWRows(.full(1, shape: [1, columns]), value: .bfloat16)
        for step in 1...100 {
            var settings = settings(step, rate: 3e-5)
            settings.weightDecay = 0
            try rows.step(gradient: .full(1, shape: [1, columns]), settings: settings, firstElement: 0)
        }
        let mean = try rows.values.floats().reduce(0, +) / Float(columns)
        #expect(abs(mean - (1 - 100 * 3e-5)) < 2e-4, "\(mean)")

        let start = try Self.normal([9, 300], seed: 1)
        let gradients = try (1...3).map { try Self.normal([9, 300], seed: UInt64(10 + $0)) }
        func run(_ parts: [Range<Int>], seed: UInt64 = 7) throws -> [[Float]] {
            let shards = try parts.map { part in
                try AdamWRows(
                    start.narrowed(0, from: part.lowerBound, length: part.count), value: .bfloat16, moments: .blocks)
            }
            for (index, gradient) in gradients.enumerated() {
                for (shard, part) in zip(shards, parts) {
                    try shard.step(
                        gradient: gradient.narrowed(0, from: part.lowerBound, length: part.count),
                        settings: settings(index + 1, seed: seed), firstElement: part.lowerBound * 300)
                }
            }
            return try ["value", "first_moment", "second_moment"].map { name in
                try shards.flatMap { try $0.state.first { $0.name == name }!.tensor.floats() }
            }
        }
        let whole = try run([0..<9])
        #expect(try run([0..<3, 3..<6, 6..<9]) == whole)
        #expect(try run([0..<5, 5..<9]) == whole)
        #expect(try run([0..<9], seed: 8) != whole)
    }

    @Test("8-bit moments: within 7 % of the value over six decades, right in the mean, and never zero")
    func blocks() throws {
        // Gradients of a millionth to one: a first step leaves (1 − β₁) d and (1 − β₂) d².
        let columns = 256
        let gradient = (0..<columns).map { Float(pow(10, -3 * Double($0) / 255)) * ($0 % 2 == 0 ? 1 : -1) }
        let rows = try AdamWRows(.zeros([1, columns]), moments: .blocks)
        try rows.step(gradient: .floats(gradient, shape: [1, columns]), settings: settings(), firstElement: 0)
        let state = Dictionary(uniqueKeysWithValues: rows.state.map { ($0.name, $0.tensor) })
        #expect(state["first_moment"]!.dtype == .uint8 && state["second_moment"]!.dtype == .uint8)
        func level(_ code: Int, _ top: Int) -> Double { code == 0 ? 0 : pow(2, Double(code - top) / 10) }
        let m = try state["first_moment"]!.withUnsafeBytes { Array($0) }
        let v = try state["second_moment"]!.withUnsafeBytes { Array($0) }
        let scale = (try state["first_moment_scale"]!.item(), try state["second_moment_scale"]!.item())
        for i in 0..<columns {
            let d = Double(gradient[i])
            let found = (m[i] & 128 == 0 ? 1 : -1) * level(Int(m[i] & 127), 127) * scale.0
            #expect(abs(found / (0.1 * d) - 1) < 0.072, "m of \(d)")
            #expect(abs(level(Int(v[i]), 255) * scale.1 / (0.02 * d * d) - 1) < 0.072, "v of \(d)")
        }

        // Right in the mean: many elements with one value, which lies between two levels, beside one that sets the scale.
        let many = try AdamWRows(.zeros([16, columns]), moments: .blocks)
        let flat = (0..<16 * columns).map { Float($0 % columns == 0 ? 1 : 0.337) }
        try many.step(gradient: .floats(flat, shape: [16, columns]), settings: settings(), firstElement: 0)
        let codes = try many.state.first { $0.name == "second_moment" }!.tensor.withUnsafeBytes { Array($0) }
        let values = codes.enumerated().filter { $0.offset % columns != 0 }.map { level(Int($0.element), 255) }
        let mean = values.reduce(0, +) / Double(values.count)
        #expect(abs(mean / (0.337 * 0.337) - 1) < 0.003)

        // Far below the largest of its block a second moment stays above zero: the step stays finite and small.
        let small = (0..<columns).map { Float($0 == 0 ? 1 : 1e-12) }
        let tiny = try AdamWRows(.zeros([1, columns]), moments: .blocks)
        for step in 1...3 {
            try tiny.step(gradient: .floats(small, shape: [1, columns]), settings: settings(step), firstElement: 0)
        }
        #expect(try tiny.values.floats().allSatisfy { abs($0) < 0.05 })
    }

    @Test("A step that says the same in every storage form stays near the step in float32")
    func storageForms() throws {
        func run(_ value: ValueStorage, _ moments: MomentStorage) throws -> [Float] {
            let rows = try AdamWRows(Self.normal([8, 512], seed: 1), value: value, moments: moments)
            for step in 1...30 {
                try rows.step(
                    gradient: Self.normal([8, 512], seed: UInt64(100 + step)), settings: settings(step),
                    firstElement: 0)
            }
            return try rows.values.floats()
        }
        let exact = try run(.float32, .float32)
        func distance(_ other: [Float]) -> Double {
            let squares = zip(exact, other).map { Double(($0 - $1) * ($0 - $1)) }
            return (squares.reduce(0, +) / Double(squares.count)).squareRoot()
        }
        // Thirty steps of a hundredth move weights by about a twentieth.
        #expect(try distance(run(.float32, .bfloat16)) < 5e-4)
        #expect(try distance(run(.float32, .blocks)) < 5e-3)
        #expect(try distance(run(.bfloat16, .float32)) < 2e-2)
    }
}

/// The step made of libtorch's operations, which devices take, against the CPU's loops.
@Suite("AdamW by operations")
struct AdamWByOperationsTests {
    struct Forms: CustomTestStringConvertible {
        let value: ValueStorage
        let moments: MomentStorage
        var testDescription: String { "\(value), \(moments)" }
    }

    static let forms = ValueStorage.allCases.flatMap { value in
        MomentStorage.allCases.map { Forms(value: value, moments: $0) }
    }

    @Test(
        "Gradient norm, values, moments and signs are those of the loops, rounded by the same random bits",
        arguments: forms, SignGradient.allCases)
    func sameAsLoops(forms: Forms, signGradient: SignGradient) throws {
        let shape = [7, 600]
        func normal(_ seed: UInt64, _ shape: [Int]) throws -> Tensor { try .randn(shape, using: Generator(seed: seed)) }
        let start = try normal(1, shape) * 0.5
        let latent = LatentScales(
            outputScale: try normal(2, [7]), inputScale: try normal(3, [600]), signGradient: signGradient)
        let pair = try [false, true].map {
            try AdamWRows(
                start, value: forms.value, moments: forms.moments, keepsSigns: true, stepsByOperations: $0)
        }
        for step in 1...3 {
            let product = try normal(UInt64(10 + step), shape)
            let settings = AdamWSettings(
                step: step, learningRate: 0.05, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.01,
                gradientFactor: 0.7, seed: 99)
            let sums = try pair.map { try $0.squareSum(of: product, latent: latent).value() }
            #expect(abs(sums[0] / sums[1] - 1) < 1e-4)
            let turned = try pair.map {
                try $0.step(gradient: product, latent: latent, settings: settings, firstElement: 1800).value()
            }
            #expect(abs(turned[0] - turned[1]) <= 3)
        }
        // Last bits differ, and now and then one of them decides a rounding.
        for (loops, operations) in zip(pair[0].state, pair[1].state) {
            let (a, b) = (try loops.tensor.floats(), try operations.tensor.floats())
            let largest = a.map { abs($0) }.max() ?? 0
            let isCode = loops.tensor.dtype == .uint8
            let far = zip(a, b).count { a, b in isCode ? a != b : abs(a - b) > 1e-5 * largest }
            #expect(far <= a.count / 50, "\(loops.name): \(far) of \(a.count) differ")
            if !isCode { #expect(zip(a, b).allSatisfy { abs($0 - $1) <= 0.02 * largest }, "\(loops.name)") }
        }
        let signs = try pair.map { try #require($0.signs).integers() }
        #expect(zip(signs[0], signs[1]).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount } <= 6)
    }
}
