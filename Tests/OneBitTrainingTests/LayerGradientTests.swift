import Foundation
import ModelDescription
import Testing
@testable import OneBitTraining


/// Each fused autograd function against what libtorch derives from plain operations, or against finite differences.
@Suite("Fused layers")
struct LayerGradientTests {
    private let generator: TorchGenerator

    init() throws { generator = try TorchGenerator(seed: 11) }

    private func leaf(_ shape: [Int], scale: Double = 1) throws -> Tensor {
        let tensor = try (try Tensor.randn(shape, using: generator) * scale).detached()
        try tensor.setRequiresGradient(true)
        return tensor
    }

    /// Compares the gradient of Σ f(inputs) ⊙ r by each input with central differences along random directions.
    private func expectGradients(
        of inputs: [(name: String, tensor: Tensor)], _ function: () throws -> Tensor
    ) throws {
        let shape = try withoutGradient { try function() }.shape
        let weights = try Tensor.randn(shape, using: generator)
        func value() throws -> Double { try withoutGradient { try (function() * weights).sum().item() } }
        for input in inputs { input.tensor.clearGradient() }
        try (function() * weights).sum().backward()
        for (name, tensor) in inputs {
            let gradient = try #require(try tensor.gradient())
            let direction = try Tensor.randn(tensor.shape, using: generator)
            let original = try tensor.detached().cloned()
            let step = 1e-2
            try tensor.copy(from: original + direction * step)
            let above = try value()
            try tensor.copy(from: original - direction * step)
            let below = try value()
            try tensor.copy(from: original)
            let expected = (above - below) / (2 * step)
            let found = try (gradient * direction).sum().item()
            #expect(abs(found - expected) < 2e-2 * max(1, abs(expected)), "\(name): \(found), expected \(expected)")
        }
    }

    @Test("OneBit layer: gradients by x, g and h are those of the function", arguments: [nil, Float(1e-5)])
    func signLinear(epsilon: Float?) throws {
        let latent = try leaf([5, 12])
        let (x, g, h) = (try leaf([2, 3, 12]), try leaf([12]), try leaf([5]))
        try expectGradients(of: [("x", x), ("g", g), ("h", h)]) {
            try x.signLinear(
                latent: latent, inputScale: g, outputScale: h, layerNormEpsilon: epsilon, gradient: .hard)
        }
    }

    @Test("OneBit layer: the latent gradient is that of the dense matrix times h gᵀ and the sign's slope")
    func latentGradient() throws {
        let (rows, columns) = (4, 10)
        let weights = try leaf([rows, columns]).floats().map { $0 * 2 }
        let (x, g, h) = (try leaf([6, columns]), try leaf([columns]), try leaf([rows]))
        let upstream = try Tensor.randn([6, rows], using: generator)
        // dA of the dense layer Y = X Aᵀ, A = h sign(W) g.
        let (gs, hs) = (try g.floats(), try h.floats())
        let dense = weights.indices.map { hs[$0 / columns] * (weights[$0] < 0 ? -1 : 1) * gs[$0 % columns] }
        let a = try Tensor(dense, shape: [rows, columns])
        try a.setRequiresGradient(true)
        try (x.linear(a) * upstream).sum().backward()
        let da = try #require(try a.gradient()).floats()

        for gradient in SignGradient.allCases {
            let latent = try Tensor(weights, shape: [rows, columns])
            try latent.setRequiresGradient(true)
            let y = try x.signLinear(
                latent: latent, inputScale: g, outputScale: h, layerNormEpsilon: nil, gradient: gradient)
            try (y * upstream).sum().backward()
            let found = try #require(try latent.gradient()).floats()
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

    @Test("OneBit layer: sign(0) and sign(−0) are +1")
    func signOfZero() throws {
        let one = try Tensor([1], shape: [1])
        for zero: Float in [0, -0.0] {
            let y = try Tensor([3], shape: [1, 1]).signLinear(
                latent: try Tensor([zero], shape: [1, 1]), inputScale: one, outputScale: one,
                layerNormEpsilon: nil, gradient: .hard)
            #expect(try y.floats() == [3])
        }
    }

    @Test("Norms, activations and rotary embedding have the gradients of their functions")
    func otherLayers() throws {
        let (x, w) = (try leaf([2, 3, 8]), try leaf([8]))
        try expectGradients(of: [("x", x), ("weight", w)]) { try x.rmsNorm(w, epsilon: 1e-5) }
        let (gate, up) = (try leaf([2, 7]), try leaf([2, 7]))
        try expectGradients(of: [("gate", gate), ("up", up)]) { try .swiGLU(gate: gate, up: up) }
        let bias = try leaf([8])
        try expectGradients(of: [("x", x), ("weight", w), ("bias", bias)]) {
            try x.layerNorm(w, bias: bias, epsilon: 1e-5)
        }
        try expectGradients(of: [("x", x)]) { try x.relu() }
        let heads = try leaf([2, 3, 2, 4])
        let table = try RotaryTable(RotaryPositions(base: 100), headSize: 4)
            .rows(from: 0, length: 3, sequenceLength: 3)
        try expectGradients(of: [("x", heads)]) { try heads.rotary(cosines: table.cosines, sines: table.sines) }
    }

    @Test("A rotation keeps lengths and depends on relative positions only")
    func rotary() throws {
        let table = RotaryTable(RotaryPositions(base: 10_000), headSize: 8)
        func rotated(_ x: [Float], at position: Int) throws -> [Float] {
            let row = try table.rows(from: position, length: 1, sequenceLength: position + 1)
            return try Tensor(x, shape: [1, 1, 1, 8]).rotary(cosines: row.cosines, sines: row.sines).floats()
        }
        let q = try Tensor.randn([8], using: generator).floats()
        let k = try Tensor.randn([8], using: generator).floats()
        func dot(_ a: [Float], _ b: [Float]) -> Float { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        let near = dot(try rotated(q, at: 3), try rotated(k, at: 1))
        let far = dot(try rotated(q, at: 15), try rotated(k, at: 13))
        #expect(abs(near - far) < 1e-4)
        // The same rows, asked for by their positions.
        let gathered = try table.rows(of: [3, 1, 15, 9], batch: 2)
        #expect(gathered.cosines.shape == [2, 2, 4])
        #expect(
            try Array(gathered.sines.floats()[8..<12])
                == table.rows(from: 15, length: 1, sequenceLength: 16).sines.floats())
        #expect(abs(dot(try rotated(q, at: 9), try rotated(q, at: 9)) - dot(q, q)) < 1e-4)
    }

    @Test("Losses have the gradients of their functions, and are zero for equal inputs")
    func losses() throws {
        let teacher = try Tensor.randn([3, 4, 9], using: generator)
        let student = try leaf([3, 4, 9])
        try expectGradients(of: [("student", student)]) { try student.klDivergence(fromTeacher: teacher) }
        try expectGradients(of: [("student", student)]) { try student.directionLoss(fromTeacher: teacher) * 10 }
        #expect(abs(try teacher.klDivergence(fromTeacher: teacher).item()) < 1e-5)
        #expect(abs(try teacher.directionLoss(fromTeacher: teacher).item()) < 1e-5)
        #expect(try student.klDivergence(fromTeacher: teacher).item() > 0)
    }

    @Test("The KL divergence stays finite where half precision would overflow")
    func largeDivergence() throws {
        // 20 nats per token over 8,192 tokens: more than float16 can hold.
        let teacher = try Tensor((0..<8192).flatMap { _ in [Float(20), 0] }, shape: [8192, 2])
        let student = try Tensor((0..<8192).flatMap { _ in [Float(0), 20] }, shape: [8192, 2])
        let total = try student.klDivergence(fromTeacher: teacher).item()
        #expect(abs(total / 8192 - 20) < 1e-3)
    }

    @Test("An operation on shapes that do not fit throws and says which operation")
    func shapeMismatch() throws {
        let (a, b) = (try Tensor.zeros([2, 3]), try Tensor.zeros([2, 4]))
        #expect { try a + b } throws: { error in
            (error as? TorchError)?.operation == "+" && "\(error)".contains("3") && "\(error)".contains("4")
        }
    }
}
