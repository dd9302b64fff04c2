import Foundation
import ModelDescription
import TestSupport
import Testing
import Torch

@testable import OneBitTraining

@Suite("Optimisation")
struct OptimizationTests {
    @Test("The learning rate rises to its peak, falls on a cosine and ends above zero")
    func schedule() {
        let schedule = LearningRateSchedule(warmupSteps: 10, totalSteps: 110)
        #expect(schedule.factor(at: 1) == 0.1)
        #expect(schedule.factor(at: 10) == 1)
        #expect(abs(schedule.factor(at: 60) - 0.5) < 0.02)
        let factors = (10...110).map(schedule.factor(at:))
        #expect(zip(factors, factors.dropFirst()).allSatisfy { $0 > $1 })
        #expect(factors.last! > 0 && factors.last! < 1e-3)
        #expect(LearningRateSchedule(warmupSteps: 0, totalSteps: 1).factor(at: 1) > 0)
    }

    @Test("AdamW moves a parameter as Loshchilov & Hutter's equations say")
    func adamW() throws {
        let tensor = try Tensor.floats([1, -2], shape: [1, 2])
        var settings = OptimizerSettings(learningRates: LearningRates(all: 0.1))
        settings.gradientClip = 1e9
        var optimizer = try AdamW([Parameter(name: "w", tensor: tensor, group: .latent)], settings: settings)
        var (w, m, v) = ([1.0, -2.0], [0.0, 0.0], [0.0, 0.0])
        let scale: [Float] = [3, 0.5]
        for step in 1...3 {
            // loss = Σ scale · w², gradient 2 · scale · w
            let leaf = try optimizer.states[0].value.requiringGradient()
            let loss = try (leaf * leaf * .floats(scale, shape: [1, 2])).sum()
            _ = try optimizer.step(step, gradients: loss.gradients(by: [leaf]), factor: 1)
            for i in 0..<2 {
                let d = 2 * Double(scale[i]) * w[i]
                m[i] = 0.9 * m[i] + 0.1 * d
                v[i] = 0.98 * v[i] + 0.02 * d * d
                let (mean, variance) = (m[i] / (1 - pow(0.9, Double(step))), v[i] / (1 - pow(0.98, Double(step))))
                w[i] -= 0.1 * (0.01 * w[i] + mean / (variance.squareRoot() + 1e-8))
            }
            let found = try optimizer.states[0].value.floats()
            #expect(abs(Double(found[0]) - w[0]) < 1e-5 && abs(Double(found[1]) - w[1]) < 1e-5, "step \(step)")
        }
    }

    @Test("Weight decay shrinks matrices and leaves vectors: norms, biases, g and h")
    func decayedParameters() throws {
        let parameters = try [ParameterGroup.latent, .scales, .embedding, .norm].map { group in
            let shape = [.latent, .embedding].contains(group) ? [2, 2] : [2]
            return Parameter(name: group.rawValue, tensor: try .full(1, shape: shape), group: group)
        }
        var optimizer = try AdamW(parameters, settings: OptimizerSettings(learningRates: LearningRates(all: 0.5)))
        _ = try optimizer.step(1, gradients: parameters.map { try .zeros($0.tensor.shape) }, factor: 1)
        for (parameter, state) in zip(parameters, optimizer.states) {
            let expected: Float = parameter.tensor.shape.count == 2 ? 1 - 0.5 * 0.01 : 1
            #expect(try state.value.floats().allSatisfy { abs($0 - expected) < 1e-6 }, "\(parameter.name)")
        }
    }

    @Test("A group without a learning rate is frozen")
    func frozenGroup() throws {
        let optimizer = try AdamW(
            [
                Parameter(name: "latent", tensor: .full(1, shape: [1]), group: .latent),
                Parameter(name: "norm", tensor: .full(1, shape: [1]), group: .norm),
            ],
            settings: OptimizerSettings(learningRates: LearningRates(latent: 0.1, scales: 0, embedding: 0, norm: 0)))
        #expect(optimizer.parameters.map(\.name) == ["latent"])
    }

    @Test("Clipping scales the joint norm to the limit and leaves smaller ones; an infinite one moves nothing")
    func clipping() throws {
        let parameters = try ["a", "b"].map { Parameter(name: $0, tensor: try .full(1, shape: [1]), group: .scales) }
        func firstMoments(_ factor: Double) throws -> (norm: Double, moments: [Double]) {
            var optimizer = try AdamW(parameters, settings: OptimizerSettings(learningRates: LearningRates(all: 1)))
            let gradients = try [3, 4].map { try Tensor.full($0 * factor, shape: [1]) }
            let norm = try optimizer.step(1, gradients: gradients, factor: 1)
            return (norm, try optimizer.states.map { try $0.firstMoment.item() / (1 - optimizer.settings.beta1) })
        }
        for (factor, norm, gradients) in [(1.0, 5.0, [0.6, 0.8]), (0.1, 0.5, [0.3, 0.4])] {
            let found = try firstMoments(factor)
            #expect(abs(found.norm - norm) < 1e-5)
            for (one, other) in zip(found.moments, gradients) { #expect(abs(one - other) < 1e-5) }
        }
        let infinite = try firstMoments(.infinity)
        #expect(!infinite.norm.isFinite && infinite.moments == [0, 0])
    }

    @Test("The paper's preset takes its scripts' batches: 128 sequences of 2,048 for 7B, 64 at half the rate for 13B")
    func paperPreset() throws {
        func teacher(hidden: Int, intermediate: Int, layers: Int, heads: Int) throws -> ModelConfiguration {
            let shape = PretrainingShape(
                vocabularySize: 32000, hiddenSize: hidden, intermediateSize: intermediate, layers: layers,
                attentionHeads: heads, keyValueHeads: heads, context: 4096)
            let folder = try TemporaryDirectory()
            let file = try folder.write(
                try shape.configuration(beginOfSequence: 1, endOfSequence: 2), as: "config.json")
            return try ModelConfiguration(contentsOf: file)
        }
        let small = DistillationConfiguration.paper(
            for: try teacher(hidden: 4096, intermediate: 11008, layers: 32, heads: 32))
        let large = DistillationConfiguration.paper(
            for: try teacher(hidden: 5120, intermediate: 13824, layers: 40, heads: 40))
        #expect(small.budget == TrainingBudget(length: .epochs(50), batchSize: 128, sequenceLength: 2048))
        #expect(large.budget == TrainingBudget(length: .epochs(50), batchSize: 64, sequenceLength: 2048))
        #expect(small.optimizer.learningRates == LearningRates(latent: 4e-4, scales: 4e-4, embedding: 0, norm: 0))
        #expect(large.optimizer.learningRates == LearningRates(latent: 2e-4, scales: 2e-4, embedding: 0, norm: 0))
        // Reached by accumulation: one sequence a pass.
        #expect(Execution().microBatches(of: 128, sequenceLength: 2048).count == 128)
    }

    @Test("A step's micro-batches depend on the batch, not on the machine, and cover it once")
    func microBatches() {
        #expect(Execution(threads: 1).microBatches(of: 8, sequenceLength: 256) == [0..<4, 4..<8])
        #expect(Execution(threads: 7).microBatches(of: 8, sequenceLength: 256) == [0..<4, 4..<8])
        #expect(Execution().microBatches(of: 3, sequenceLength: 4096) == [0..<1, 1..<2, 2..<3])
        #expect(Execution(microBatchSize: 2).microBatches(of: 5, sequenceLength: 8) == [0..<2, 2..<4, 4..<5])
    }

    @Test("Segments: every epoch serves each segment once, and the order depends on the seed and position only")
    func segments() throws {
        let tokens = (0..<103).map(Int32.init)
        let segments = try TokenSegments(tokens: tokens, length: 10, seed: 5)
        #expect(segments.count == 10)
        let firsts = try segments.batch(from: 0, count: 20).integers().enumerated().filter { $0.offset % 10 == 0 }
            .map(\.element)
        #expect(Set(firsts.prefix(10)) == Set(stride(from: 0, to: 100, by: 10)))
        #expect(Set(firsts.suffix(10)) == Set(stride(from: 0, to: 100, by: 10)))
        #expect(Array(firsts.prefix(10)) != Array(firsts.suffix(10)))
        let again = try TokenSegments(tokens: tokens, length: 10, seed: 5)
        #expect(try again.batch(from: 13, count: 2).integers() == segments.batch(from: 13, count: 2).integers())
        let other = try TokenSegments(tokens: tokens, length: 10, seed: 6)
        #expect(try other.batch(from: 0, count: 10).integers() != segments.batch(from: 0, count: 10).integers())
        #expect(throws: TrainingError.corpusTooShort(tokens: 103, segment: 104)) {
            try TokenSegments(tokens: tokens, length: 104, seed: 0)
        }
    }
}
