import Foundation
import JSON
import ModelDescription
import Testing
import Torch

@testable import OneBitTraining

/// The block schedule against one autograd graph over the whole model, which stands here alone.
@Suite("Block schedule")
struct BlockScheduleTests {
    struct Case: CustomTestStringConvertible {
        let family: FamilyDistillationTests.Family
        let layerNormEpsilon: Float?
        var testDescription: String { "\(family.testDescription), LayerNorm \(layerNormEpsilon ?? 0)" }
    }

    /// Tied and untied heads, norms before and behind the sublayers, projected embeddings, grouped queries, biases,
    /// sliding windows; with and without LayerNorm.
    static let cases =
        (FamilyDistillationTests.families + [
            FamilyDistillationTests.Family(type: "llama", keys: [("tie_word_embeddings", .boolean(true))])
        ]).flatMap { family in [nil, Float(1e-5)].map { Case(family: family, layerNormEpsilon: $0) } }

    static let weights = LossWeights(klDivergence: 0.01, hiddenStates: 1, attentionMaps: 0.25, languageModel: 0.5)

    private func model(_ configuration: ModelConfiguration, oneBit: OneBitSettings?, seed: UInt64) throws -> Transformer
    {
        let generator = try Generator(seed: seed)
        var shapes: [String: [Int]] = [:]
        for linear in configuration.linears {
            shapes[linear.weightName] = [linear.outputs, linear.inputs]
            shapes[linear.inputScaleName] = [linear.inputs]
            shapes[linear.outputScaleName] = [linear.outputs]
        }
        for tensor in configuration.floatTensors { shapes[tensor.name] = tensor.shape }
        return try Transformer(configuration: configuration, oneBit: oneBit) { name, group in
            let shape = try #require(shapes[name])
            let random = try Tensor.randn(shape, using: generator)
            switch group {
            case .latent: return .signs(try SignMatrix(signsOf: random))
            case .scales: return .tensor(try random * 0.1 + .full(0.3, shape: shape))
            case .norm where !name.hasSuffix("bias"): return .tensor(try random * 0.1 + .full(1, shape: shape))
            default: return .tensor(try random * 0.2)
            }
        }
    }

    private func tokens() throws -> Tensor {
        try .integers((0..<30).map { ($0 * 7 + $0 * $0) % 32 }, shape: [3, 10])
    }

    /// Gradients by parameter, of latent matrices P, and the parts of the loss.
    private func scheduled(
        _ objective: TrainingObjective, _ student: Transformer, trained: Set<Int>, keptActivations: Int = 0
    ) throws -> (gradients: [Int: TensorBuffer], parts: [Double]) {
        let (recorded, leaves) = try student.recordingGradients(of: trained)
        var gradients: [Int: TensorBuffer] = [:]
        let schedule = BlockSchedule(objective: objective, keptActivations: keptActivations)
        let parts = try schedule(recorded, leaves: leaves, tokens: tokens(), share: 0.5) {
            for (place, gradient) in $0 {
                if let sum = gradients[place] {
                    try sum.add(gradient)
                } else {
                    gradients[place] = try TensorBuffer(copying: gradient)
                }
            }
        }
        return (gradients, try parts.floats().map(Double.init))
    }

    /// The same by one graph: with the loss's gradients by logits and hidden states as constants, the gradient of
    /// Σ logits ⊙ dlogits + Σ_l x_l ⊙ dx_l is the loss's.
    private func graph(
        teacher: Transformer?, weights: LossWeights, _ student: Transformer, trained: Set<Int>
    ) throws -> (gradients: [Int: Tensor], parts: [Double]) {
        let tokens = try tokens()
        let ids = try tokens.integers()
        let (batch, length, vocabulary) = (3, 10, student.configuration.vocabularySize)
        let (recorded, leaves) = try student.recordingGradients(of: trained)
        let output = try observed(recorded, tokens)
        let target = try withoutGradient { try teacher.map { try observed($0, tokens) } }
        func logProbabilities(_ logits: Tensor) throws -> [[Double]] {
            let all = try logits.detached().floats().map(Double.init)
            return (0..<batch * length).map { row in
                let row = all[row * vocabulary..<(row + 1) * vocabulary]
                let sum = log(row.reduce(0) { $0 + exp($1) })
                return row.map { $0 - sum }
            }
        }
        let s = try logProbabilities(output.logits)
        let t = try target.map { try logProbabilities($0.logits) }
        var (divergence, crossEntropy) = (0.0, 0.0)
        var upstream: [Float] = []
        for row in s.indices {
            let next = row % length == length - 1 ? nil : ids[row + 1]
            if let next { crossEntropy -= s[row][next] / Double(batch * (length - 1)) }
            for token in 0..<vocabulary {
                var value = 0.0
                if let t {
                    divergence += exp(t[row][token]) * (t[row][token] - s[row][token]) / Double(batch * length)
                    value += weights.klDivergence / Double(batch) * (exp(s[row][token]) - exp(t[row][token]))
                }
                if let next {
                    value +=
                        weights.languageModel / Double(batch * (length - 1))
                        * (exp(s[row][token]) - (next == token ? 1 : 0))
                }
                upstream.append(Float(0.5 * value))
            }
        }
        var total = try (output.logits * .floats(upstream, shape: output.logits.shape)).sum()
        var hidden = 0.0
        if let target {
            for (x, t) in zip(output.states, target.states) {
                let (loss, gradient) = try x.directionLoss(fromTeacher: t, weight: 0.5 * weights.hiddenStates)
                hidden += try loss.item()
                total = try total + (x * gradient).sum()
            }
        }
        var attention = 0.0
        if let target {
            let masks = try student.positions(length: length).attention
            for (block, (own, theirs)) in zip(student.blocks, zip(output.attention, target.attention)) {
                guard case .sequences(let masks) = masks else { continue }
                var mask: Tensor?
                if case .matrix(let matrix) = block.attention.slidingWindow == nil ? masks.full : masks.windowed {
                    mask = matrix
                }
                let (loss, gradient) = try own.mapLoss(
                    fromTeacher: theirs, mask: mask, causal: mask == nil, softCap: block.attention.softCap,
                    weight: 0.5 * weights.attentionMaps)
                attention += try loss.item()
                total = try total + (own.queries * gradient.queries).sum() + (own.keys * gradient.keys).sum()
            }
        }
        let places = trained.sorted()
        let found = try total.gradients(by: places.compactMap { leaves[$0] })
        let gradients = zip(places, found).compactMap { place, gradient in gradient.map { (place, $0) } }
        let parts = target == nil ? [crossEntropy] : [divergence, hidden, attention, crossEntropy]
        return (Dictionary(uniqueKeysWithValues: gradients), parts.map { $0 / 2 })
    }

    private struct Observed {
        let logits: Tensor
        var states: [Tensor] = []
        var attention: [QueriesAndKeys] = []
    }

    /// A whole pass, and what is seen on its way.
    private func observed(_ model: Transformer, _ tokens: Tensor) throws -> Observed {
        let positions = try model.positions(length: tokens.shape[1])
        var x = try model.embedded(tokens, at: positions)
        var states: [Tensor] = []
        var attention: [QueriesAndKeys] = []
        for block in model.blocks {
            states.append(x)
            x = try block(x, at: positions) { attention.append(QueriesAndKeys(queries: $0, keys: $1)) }
        }
        return Observed(logits: try model.logits(of: model.headInput(x)), states: states, attention: attention)
    }

    private func expectEqual(
        _ found: (gradients: [Int: TensorBuffer], parts: [Double]),
        _ expected: (gradients: [Int: Tensor], parts: [Double]), _ model: Transformer
    ) throws {
        #expect(found.parts.count == expected.parts.count)
        for (one, other) in zip(found.parts, expected.parts) { #expect(abs(one - other) < 1e-5 * abs(other)) }
        #expect(Set(found.gradients.keys) == Set(expected.gradients.keys))
        // Attention does not change with the keys' biases: their gradient is zero, and what is found there is rounding.
        let rounding = try 1e-3 * jointNorm(Array(expected.gradients.values))
        for (place, gradient) in expected.gradients {
            let (one, other) = (try #require(found.gradients[place]).tensor, gradient)
            let difference = try jointNorm([try one - other]) / max(jointNorm([other]), rounding)
            #expect(difference < 1e-5, "\(model.parameters[place].name): \(difference)")
        }
    }

    @Test("Distillation: gradients and losses equal those of one graph within 1e-5 relative", arguments: cases)
    func distillation(_ example: Case) throws {
        let configuration = try example.family.configuration()
        let teacher = try model(configuration, oneBit: nil, seed: 1)
        let student = try model(
            configuration, oneBit: OneBitSettings(layerNormEpsilon: example.layerNormEpsilon), seed: 2)
        let all = Set(student.parameters.indices)
        try expectEqual(
            scheduled(.distillation(teacher: teacher, weights: Self.weights), student, trained: all),
            graph(teacher: teacher, weights: Self.weights, student, trained: all), student)
        // The paper's recipe trains the OneBit layers alone.
        let layers = all.filter { [.latent, .scales].contains(student.parameters[$0].group) }
        try expectEqual(
            scheduled(.distillation(teacher: teacher, weights: Self.weights), student, trained: layers),
            graph(teacher: teacher, weights: Self.weights, student, trained: layers), student)
    }

    @Test("Blocks whose activations were kept give the same bits as blocks that are run again")
    func keptActivations() throws {
        let configuration = try FamilyDistillationTests.families[0].configuration()
        let teacher = try model(configuration, oneBit: nil, seed: 1)
        let student = try model(configuration, oneBit: OneBitSettings(layerNormEpsilon: 1e-5), seed: 2)
        let all = Set(student.parameters.indices)
        func pass(_ kept: Int) throws -> (gradients: [Int: TensorBuffer], parts: [Double]) {
            try scheduled(
                .distillation(teacher: teacher, weights: Self.weights), student, trained: all, keptActivations: kept)
        }
        let (again, kept) = (try pass(0), try pass(.max))
        #expect(again.parts == kept.parts)
        for (place, gradient) in again.gradients {
            #expect(try gradient.tensor.floats() == #require(kept.gradients[place]).tensor.floats())
        }
    }

    @Test("bfloat16 and float16 give gradients near those of float32", arguments: [DType.bfloat16, .float16])
    func halfPrecision(dtype: DType) throws {
        let configuration = try FamilyDistillationTests.families[0].configuration()
        let teacher = try model(configuration, oneBit: nil, seed: 1)
        let student = try model(configuration, oneBit: OneBitSettings(layerNormEpsilon: 1e-5), seed: 2)
        let all = Set(student.parameters.indices)
        func pass(_ type: DType) throws -> (gradients: [Int: TensorBuffer], parts: [Double]) {
            func computing(_ model: Transformer) throws -> Transformer {
                var place = 0
                return try Transformer(configuration: configuration, oneBit: model.oneBit, computeType: type) { _, _ in
                    defer { place += 1 }
                    return model.parameters[place].value
                }
            }
            return try scheduled(
                .distillation(teacher: computing(teacher), weights: Self.weights), computing(student), trained: all)
        }
        let (expected, found) = (try pass(.float32), try pass(dtype))
        for (one, other) in zip(found.parts, expected.parts) { #expect(abs(one - other) < 2e-2 * abs(other)) }
        for (place, gradient) in expected.gradients where student.parameters[place].group == .latent {
            let half = try #require(found.gradients[place]).tensor
            #expect(half.dtype == .float32)
            let difference = try jointNorm([try half - gradient.tensor]) / jointNorm([gradient.tensor])
            #expect(difference < 0.1, "\(student.parameters[place].name): \(difference)")
        }
    }

    @Test("Pretraining: gradients and loss equal those of one graph within 1e-5 relative")
    func pretraining() throws {
        let model = try model(FamilyDistillationTests.families[0].configuration(), oneBit: nil, seed: 3)
        let all = Set(model.parameters.indices)
        let weights = LossWeights(klDivergence: 0, hiddenStates: 0, languageModel: 1)
        try expectEqual(
            scheduled(.nextToken, model, trained: all), graph(teacher: nil, weights: weights, model, trained: all),
            model)
    }
}

/// The joint 2-norm of several tensors.
private func jointNorm(_ tensors: [Tensor]) throws -> Double {
    try tensors.reduce(0) { try $0 + ($1 * $1).sum().item() }.squareRoot()
}
