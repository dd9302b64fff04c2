import Foundation
import Testing

@testable import Torch

/// Each fused autograd function against what libtorch derives from plain operations, or against finite differences.
@Suite("Fused layers")
struct LayerGradientTests {
    private let generator: Generator

    init() throws { generator = try Generator(seed: 11) }

    private func random(_ shape: [Int]) throws -> Tensor { try .randn(shape, using: generator) }

    /// Compares the gradient of Σ f(inputs) ⊙ r by each input with central differences along random directions.
    private func expectGradients(
        of inputs: [(name: String, tensor: Tensor)], _ function: ([Tensor]) throws -> Tensor
    ) throws {
        let values = inputs.map(\.tensor)
        let weights = try random(try withoutGradient { try function(values) }.shape)
        func value(_ values: [Tensor]) throws -> Double {
            try withoutGradient { try (function(values) * weights).sum().item() }
        }
        let leaves = try values.map { try $0.requiringGradient() }
        let gradients = try (function(leaves) * weights).sum().gradients(by: leaves)
        for (index, name) in inputs.map(\.name).enumerated() {
            let gradient = try #require(gradients[index])
            let direction = try random(values[index].shape)
            let step = 1e-2
            var (above, below) = (values, values)
            above[index] = try values[index] + direction * step
            below[index] = try values[index] - direction * step
            let expected = (try value(above) - value(below)) / (2 * step)
            let found = try (gradient * direction).sum().item()
            #expect(abs(found - expected) < 2e-2 * max(1, abs(expected)), "\(name): \(found), expected \(expected)")
        }
    }

    @Test("OneBit layer: gradients by x, g and h are those of the function", arguments: [nil, Float(1e-5)])
    func signLinear(epsilon: Float?) throws {
        let signs = try SignMatrix(signsOf: random([5, 12]))
        try expectGradients(of: [("x", random([2, 3, 12])), ("g", random([12])), ("h", random([5]))]) {
            try $0[0].signLinear(signs, inputScale: $0[1], outputScale: $0[2], layerNormEpsilon: epsilon)
        }
    }

    @Test("OneBit layer: P and the latent gradient made of it are those of the dense matrix, h gᵀ and the sign's slope")
    func latentGradient() throws {
        let (rows, columns) = (4, 10)
        let latent = try random([rows, columns]) * 2
        let weights = try latent.floats()
        let (x, g, h) = (try random([6, columns]), try random([columns]), try random([rows]))
        let upstream = try random([6, rows])
        // dA of the dense layer Y = X Aᵀ, A = h sign(W) g.
        let (gs, hs) = (try g.floats(), try h.floats())
        let dense = weights.indices.map { hs[$0 / columns] * (weights[$0] < 0 ? -1 : 1) * gs[$0 % columns] }
        let a = try Tensor.floats(dense, shape: [rows, columns]).requiringGradient()
        let da = try #require(try x.linear(a).gradients(by: [a], upstream: upstream)[0]).floats()

        let carrier = try Tensor.gradientCarrier(shape: [rows, columns])
        let y = try x.signLinear(
            SignMatrix(signsOf: latent), inputScale: g, outputScale: h, product: carrier, layerNormEpsilon: nil)
        let product = try #require(try y.gradients(by: [carrier], upstream: upstream)[0])
        for (found, expected) in zip(try product.floats(), da) { #expect(abs(found - expected) < 1e-4) }
        for gradient in SignGradient.allCases {
            let found = try formedLatentGradient(of: latent, product: product, inputScale: g, outputScale: h, gradient)
                .floats()
            for index in weights.indices {
                let (w, scale) = (weights[index], hs[index / columns] * gs[index % columns])
                let slope: Float
                switch gradient {
                case .tanh: slope = 1.001 - tanhf(w) * tanhf(w)
                case .hard: slope = abs(w) < 1 ? 1 : 0
                }
                #expect(abs(found[index] - da[index] * scale * slope) < 1e-4, "\(gradient) at \(index)")
            }
        }
    }

    @Test("Norms, activations and rotary embedding have the gradients of their functions")
    func otherLayers() throws {
        let (x, w, bias) = (try random([2, 3, 8]), try random([8]), try random([8]))
        try expectGradients(of: [("x", x), ("weight", w)]) { try $0[0].rmsNorm($0[1], epsilon: 1e-5) }
        try expectGradients(of: [("gate", random([2, 7])), ("up", random([2, 7]))]) {
            try .swiGLU(gate: $0[0], up: $0[1])
        }
        try expectGradients(of: [("x", x), ("weight", w), ("bias", bias)]) {
            try $0[0].layerNorm($0[1], bias: $0[2], epsilon: 1e-5)
        }
        try expectGradients(of: [("x", x)]) { try $0[0].relu() }
        let angles = (0..<6).map { Float($0) * 0.3 }
        let cosines = try Tensor.floats(angles.map { cosf($0) }, shape: [3, 2])
        let sines = try Tensor.floats(angles.map { sinf($0) }, shape: [3, 2])
        try expectGradients(of: [("x", random([2, 3, 2, 4]))]) { try $0[0].rotary(cosines: cosines, sines: sines) }
    }

    @Test(
        "Causal attention and its gradients are those of libtorch's attention with a mask, also where heads are shared",
        arguments: [(heads: 4, shared: 4), (heads: 6, shared: 2), (heads: 3, shared: 1)], [nil, 0.4])
    func causalAttention(count: (heads: Int, shared: Int), softCap: Double?) throws {
        let (heads, shared) = count
        let (batch, length, size) = (2, 29, 12)
        func rows(_ heads: Int) throws -> Tensor {  // as projections leave them: heads beside one another
            try random([batch, length, heads, size]).transposed(1, 2)
        }
        let inputs = try [rows(heads), rows(shared), rows(shared)]
        let upstream = try random([batch, heads, length, size])
        let mask = try Tensor.floats(
            (0..<length * length).map { $0 % length <= $0 / length ? 0 : -.infinity }, shape: [1, 1, length, length])
        func results(mask: Tensor?) throws -> [[Float]] {
            let leaves = try inputs.map { try $0.requiringGradient() }
            let y = try Tensor.attention(
                leaves[0], leaves[1], leaves[2], mask: mask, causal: mask == nil, softCap: softCap)
            return try [y.detached().floats()]
                + y.gradients(by: leaves, upstream: upstream).map { try #require($0).floats() }
        }
        for (found, expected) in zip(try results(mask: nil), try results(mask: mask)) {
            let worst = zip(found, expected).map { abs($0 - $1) }.max() ?? .infinity
            #expect(found.count == expected.count && worst < 2e-5)
        }
        let unrecorded = try withoutGradient {
            try Tensor.attention(inputs[0], inputs[1], inputs[2], mask: nil, causal: true, softCap: softCap).floats()
        }
        #expect(try unrecorded == results(mask: nil)[0])
        // Half precision has no kernel: capped scores are then there as a whole.
        let half = try withoutGradient {
            let halves = try inputs.map { try $0.converted(to: .bfloat16) }
            return try Tensor.attention(halves[0], halves[1], halves[2], mask: nil, causal: true, softCap: softCap)
                .floats()
        }
        #expect(zip(half, unrecorded).allSatisfy { abs($0 - $1) < 5e-2 })
        #expect(throws: TorchError.self) {
            let other = try random([batch, heads + 1, length, size])
            _ = try Tensor.attention(inputs[0], other, inputs[2], mask: nil, causal: true)
        }
    }
}

/// dW of a latent matrix as the optimizer forms it of P: the first moment after a step with β₁ = 0.
func formedLatentGradient(
    of latent: Tensor, product: Tensor, inputScale: Tensor, outputScale: Tensor, _ signGradient: SignGradient
) throws -> Tensor {
    let rows = try AdamWRows(latent)
    try rows.step(
        gradient: product,
        latent: LatentScales(outputScale: outputScale, inputScale: inputScale, signGradient: signGradient),
        settings: AdamWSettings(
            step: 1, learningRate: 0, beta1: 0, beta2: 0.98, epsilon: 1e-8, weightDecay: 0, gradientFactor: 1, seed: 0),
        firstElement: 0)
    return rows.state[1].tensor
}
