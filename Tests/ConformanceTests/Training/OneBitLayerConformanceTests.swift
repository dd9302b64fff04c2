import Foundation
import OneBitTraining
import TestSupport
import Testing
import Torch

@Suite("OneBit layer against the paper's code", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct OneBitLayerConformanceTests {
    private let reference: ReferenceTensors

    init() throws { reference = try ReferenceTensors("data/reference/onebit/bitlinear.safetensors") }

    private func leaf(_ floats: [Float], _ shape: [Int]) throws -> Tensor {
        try .floats(floats, shape: shape).requiringGradient()
    }

    @Test(
        "Output and all four gradients equal within 1e-4 relative",
        arguments: [
            "model.layers.0.self_attn.q_proj", "model.layers.2.mlp.down_proj", "model.layers.4.mlp.up_proj",
        ]
    )
    func outputAndGradients(matrix: String) throws {
        let shape = try reference.shape("\(matrix).W")
        let signs = try reference.floats("\(matrix).W").map { Float($0 < 0 ? -0.01 : 0.01) }
        let latent = try Tensor.floats(signs, shape: shape)
        let product = try Tensor.gradientCarrier(shape: shape)
        let inputScale = try leaf(try reference.floats("\(matrix).input_factor"), [shape[1]])
        let outputScale = try leaf(try reference.floats("\(matrix).weight_scale"), [shape[0]])
        let x = try leaf(try reference.floats("\(matrix).x"), try reference.shape("\(matrix).x"))
        let y = try x.signLinear(
            SignMatrix(signsOf: latent), inputScale: inputScale, outputScale: outputScale, product: product,
            layerNormEpsilon: 1e-5)
        let upstream = try Tensor.floats(
            try reference.floats("\(matrix).grad_y"), shape: try reference.shape("\(matrix).grad_y"))
        var gradients = try y.gradients(by: [x, product, outputScale, inputScale], upstream: upstream)
        gradients[1] = try formedLatentGradient(
            of: latent, product: #require(gradients[1]), inputScale: inputScale, outputScale: outputScale, .tanh)

        func expectEqual(_ found: Tensor?, _ name: String) throws {
            let found = try #require(found).floats()
            #expect(try relativeError(found, reference.floats("\(matrix).start.\(name)")) < 1e-4, "\(name)")
        }
        try expectEqual(y, "y")
        for (gradient, name) in zip(gradients, ["dx", "dweight", "dweight_scale", "dinput_factor"]) {
            try expectEqual(gradient, name)
        }
    }

    // The paper's training layer takes sign(0) as 0; its packed layer, like ours, as +1.
    @Test(
        "A trained layer with exact zeros gives what the paper's packed layer gives",
        arguments: ["model.layers.0.self_attn.q_proj", "model.layers.4.mlp.up_proj"]
    )
    func trainedLayer(matrix: String) throws {
        let weight = try reference.floats("\(matrix).latent.weight")
        #expect(weight.contains(0))
        let y = try Tensor.floats(try reference.floats("\(matrix).x"), shape: try reference.shape("\(matrix).x"))
            .signLinear(
                SignMatrix(signsOf: .floats(weight, shape: reference.shape("\(matrix).latent.weight"))),
                inputScale: try Tensor.floats(
                    try reference.floats("\(matrix).latent.input_factor"),
                    shape: try reference.shape("\(matrix).latent.input_factor")),
                outputScale: try Tensor.floats(
                    try reference.floats("\(matrix).latent.weight_scale"),
                    shape: try reference.shape("\(matrix).latent.weight_scale")),
                layerNormEpsilon: 1e-5
            )
        #expect(try relativeError(y.floats(), reference.floats("\(matrix).latent.y_packed")) < 1e-4)
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
