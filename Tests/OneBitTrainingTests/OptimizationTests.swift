import Foundation
import Testing

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
        let tensor = try Tensor([1, -2], shape: [2])
        try tensor.setRequiresGradient(true)
        var settings = OptimizerSettings(learningRates: LearningRates(all: 0.1))
        settings.gradientClip = 1e9
        let optimizer = try AdamW([Parameter(name: "w", tensor: tensor, group: .latent)], settings: settings)
        var (w, m, v) = ([1.0, -2.0], [0.0, 0.0], [0.0, 0.0])
        let scale: [Float] = [3, 0.5]
        for step in 1...3 {
            // loss = Σ scale · w², gradient 2 · scale · w
            try (tensor * tensor * Tensor(scale, shape: [2])).sum().backward()
            _ = try optimizer.step(step, factor: 1)
            for i in 0..<2 {
                let d = 2 * Double(scale[i]) * w[i]
                m[i] = 0.9 * m[i] + 0.1 * d
                v[i] = 0.98 * v[i] + 0.02 * d * d
                let (mean, variance) = (m[i] / (1 - pow(0.9, Double(step))), v[i] / (1 - pow(0.98, Double(step))))
                w[i] -= 0.1 * (0.01 * w[i] + mean / (variance.squareRoot() + 1e-8))
            }
            let found = try tensor.floats()
            #expect(abs(Double(found[0]) - w[0]) < 1e-5 && abs(Double(found[1]) - w[1]) < 1e-5, "step \(step)")
        }
    }

    @Test("A group without a learning rate is frozen")
    func frozenGroup() throws {
        let (latent, norm) = (try Tensor([1], shape: [1]), try Tensor([1], shape: [1]))
        let optimizer = try AdamW(
            [
                Parameter(name: "latent", tensor: latent, group: .latent),
                Parameter(name: "norm", tensor: norm, group: .norm),
            ],
            settings: OptimizerSettings(learningRates: LearningRates(latent: 0.1, scales: 0, embedding: 0, norm: 0)))
        for tensor in [latent, norm] { try tensor.setRequiresGradient(true) }
        try (latent * norm).sum().backward()
        _ = try optimizer.step(1, factor: 1)
        #expect(try norm.floats() == [1])
        #expect(try latent.floats() != [1])
    }

    @Test("Clipping scales the joint norm to the limit, leaves smaller ones and infinite ones alone")
    func clipping() throws {
        let tensors = try [Tensor([3], shape: [1]), Tensor([4], shape: [1])]
        for tensor in tensors { try tensor.setRequiresGradient(true) }
        func backward(_ factor: Double) throws {
            for tensor in tensors { tensor.clearGradient() }
            try ((tensors[0] * tensors[0] + tensors[1] * tensors[1]) * (0.5 * factor)).sum().backward()
        }
        try backward(1)  // gradients 3 and 4, norm 5
        #expect(abs(try clipGradients(of: tensors, to: 1) - 5) < 1e-5)
        #expect(abs(try #require(try tensors[0].gradient()).item() - 0.6) < 1e-5)
        try backward(0.1)
        #expect(abs(try clipGradients(of: tensors, to: 1) - 0.5) < 1e-5)
        #expect(abs(try #require(try tensors[0].gradient()).item() - 0.3) < 1e-5)
        try backward(.infinity)
        #expect(!(try clipGradients(of: tensors, to: 1)).isFinite)
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
