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

    private func optimizer(
        _ parameters: [(name: String, group: ParameterGroup, value: Tensor)], rates: LearningRates, clip: Double = 1
    ) throws -> ShardedOptimizer {
        var settings = OptimizerSettings(learningRates: rates)
        settings.gradientClip = clip
        let values = Dictionary(uniqueKeysWithValues: parameters.map { ($0.name, $0.value) })
        return try ShardedOptimizer(
            parameters.map {
                TrainedParameter(
                    name: $0.name, shape: $0.value.shape, group: $0.group, isDecayed: $0.value.shape.count > 1)
            }, settings: settings, signGradient: .hard
        ) { parameter, _ in try #require(values[parameter.name]) }
    }

    @Test("AdamW moves a parameter as Loshchilov & Hutter's equations say")
    func adamW() throws {
        let optimizer = try optimizer(
            [("w", .dense, .floats([1, -2], shape: [1, 2]))], rates: LearningRates(all: 0.1), clip: 1e9)
        var (w, m, v) = ([1.0, -2.0], [0.0, 0.0], [0.0, 0.0])
        let scale = [3, 0.5]
        for step in 1...3 {
            // loss = Σ scale · w², gradient 2 · scale · w, given in two parts
            let half = try zip(scale, optimizer.wholeValue(0).floats()).map { Float($0) * $1 }
            for _ in 0..<2 { try optimizer.add([(0, .floats(half, shape: [1, 2]))]) }
            _ = try optimizer.step(step, factor: 1) { _ in try .zeros([1]) }
            for i in 0..<2 {
                let d = 2 * scale[i] * w[i]
                m[i] = 0.9 * m[i] + 0.1 * d
                v[i] = 0.98 * v[i] + 0.02 * d * d
                let (mean, variance) = (m[i] / (1 - pow(0.9, Double(step))), v[i] / (1 - pow(0.98, Double(step))))
                w[i] -= 0.1 * (0.01 * w[i] + mean / (variance.squareRoot() + 1e-8))
            }
            let found = try optimizer.wholeValue(0).floats()
            #expect(abs(Double(found[0]) - w[0]) < 1e-5 && abs(Double(found[1]) - w[1]) < 1e-5, "step \(step)")
        }
    }

    @Test("A latent matrix moves by P ⊙ (h gᵀ) where |w| < 1; passes get its signs, and those that turned are counted")
    func latentMatrix() throws {
        let parameter = TrainedParameter(
            name: "w", shape: [2, 2], group: .latent, isDecayed: false, scales: (input: 7, output: 8))
        var settings = OptimizerSettings(learningRates: LearningRates(all: 0.5))
        settings.gradientClip = 1e9
        let optimizer = try ShardedOptimizer([parameter], settings: settings, signGradient: .hard) { _, _ in
            try .floats([0.25, -0.25, 2, 0.25], shape: [2, 2])
        }
        try optimizer.add([(0, .floats([1, 1, 1, -1], shape: [2, 2]))])
        let made = try optimizer.step(1, factor: 1) {
            try $0 == 7 ? .floats([2, 3], shape: [2]) : .floats([1, -10], shape: [2])
        }
        // dW = [2, 3; 0, 30]: AdamW's first step is the rate times the sign.
        #expect(abs(made.gradientNorm - (4.0 + 9 + 900).squareRoot()) < 1e-4)
        #expect((made.turnedSigns, made.latentCount) == (2, 4))
        let value = try optimizer.wholeValue(0).floats()
        for (found, expected) in zip(value, [-0.25, -0.75, 2, -0.25]) { #expect(abs(found - Float(expected)) < 1e-5) }
        #expect(try optimizer.values[0].signs.unpacked().floats() == [-1, -1, 1, -1])
    }

    @Test("Weight decay shrinks matrices and leaves vectors: norms, biases, g and h")
    func decayedParameters() throws {
        for group in [ParameterGroup.latent, .scales, .embedding, .norm] {
            let shape = [.latent, .embedding].contains(group) ? [2, 2] : [2]
            #expect(
                Parameter(name: "p", value: .tensor(try .full(1, shape: shape)), group: group).isDecayed
                    == (shape.count == 2))
        }
        let optimizer = try optimizer(
            [("matrix", .embedding, .full(1, shape: [2, 2])), ("vector", .norm, .full(1, shape: [2]))],
            rates: LearningRates(all: 0.5))
        try optimizer.add([(0, .zeros([2, 2])), (1, .zeros([2]))])
        _ = try optimizer.step(1, factor: 1) { _ in try .zeros([1]) }
        for (index, expected) in [Float(1 - 0.5 * 0.01), 1].enumerated() {
            #expect(try optimizer.wholeValue(index).floats().allSatisfy { abs($0 - expected) < 1e-6 })
        }
    }

    @Test("A group without a learning rate is frozen")
    func frozenGroup() throws {
        let model = try TinyModels.random(seed: 1)
        let trained = model.trainedParameters(LearningRates(latent: 0.1, scales: 0, embedding: 0, norm: 0.1))
        #expect(!trained.isEmpty && trained.allSatisfy { $0.parameter.group == .norm })
    }

    @Test("Clipping scales the joint norm to the limit and leaves smaller ones; an infinite one moves nothing")
    func clipping() throws {
        func firstMoments(_ factor: Double) throws -> (norm: Double, moments: [Double], values: [Float]) {
            let optimizer = try optimizer(
                [("a", .scales, .full(1, shape: [1])), ("b", .scales, .full(1, shape: [1]))],
                rates: LearningRates(all: 1))
            try optimizer.add([3, 4].enumerated().map { ($0, try .full($1 * factor, shape: [1])) })
            let norm = try optimizer.step(1, factor: 1) { _ in try .zeros([1]) }.gradientNorm
            let state = try optimizer.state()
            func numbers(_ name: String) throws -> [Double] {
                try state.filter { $0.name == name }.map { try $0.tensor.item() }
            }
            return (norm, try numbers("first_moment").map { $0 / (1 - 0.9) }, try numbers("value").map { Float($0) })
        }
        for (factor, norm, gradients) in [(1.0, 5.0, [0.6, 0.8]), (0.1, 0.5, [0.3, 0.4])] {
            let found = try firstMoments(factor)
            #expect(abs(found.norm - norm) < 1e-5)
            for (one, other) in zip(found.moments, gradients) { #expect(abs(one - other) < 1e-5) }
        }
        let infinite = try firstMoments(.infinity)
        #expect(!infinite.norm.isFinite && infinite.moments == [0, 0] && infinite.values == [1, 1])
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
        let tokens = TrainingCorpus((0..<103).map(Int32.init))
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
