import Foundation
import Torch

/// Peak learning rate of each group of parameters; a rate of zero freezes the group.
public struct LearningRates: Sendable, Hashable, Codable {
    /// Latent matrices W whose signs the OneBit layers use.
    public var latent: Double
    /// Value vectors g and h.
    public var scales: Double
    /// Embeddings and output head.
    public var embedding: Double
    /// Norm weights, and biases.
    public var norm: Double
    /// Dense linear layers (pretraining).
    public var dense: Double

    public init(latent: Double, scales: Double, embedding: Double, norm: Double, dense: Double = 0) {
        self.latent = latent
        self.scales = scales
        self.embedding = embedding
        self.norm = norm
        self.dense = dense
    }

    /// One rate for everything.
    public init(all rate: Double) { self.init(latent: rate, scales: rate, embedding: rate, norm: rate, dense: rate) }

    public subscript(group: ParameterGroup) -> Double {
        switch group {
        case .latent: latent
        case .scales: scales
        case .embedding: embedding
        case .norm: norm
        case .dense: dense
        }
    }
}

/// Settings of AdamW (Loshchilov & Hutter 2019) and of its learning rate's schedule.
public struct OptimizerSettings: Sendable, Hashable, Codable {
    public var learningRates: LearningRates
    /// Steps over which the learning rate rises from zero, but never more than a tenth of the run.
    public var warmupSteps: Int
    public var beta1 = 0.9
    public var beta2 = 0.98
    public var epsilon = 1e-8
    /// Of matrices; vectors do not decay.
    public var weightDecay = 0.01
    /// Largest joint 2-norm of the gradients.
    public var gradientClip = 1.0
    /// How latent matrices are kept between steps.
    public var latentStorage = ValueStorage.float32
    /// How the moments of matrices are kept between steps; those of vectors are float32.
    public var momentStorage = MomentStorage.float32

    public init(learningRates: LearningRates, warmupSteps: Int = 500) {
        self.learningRates = learningRates
        self.warmupSteps = warmupSteps
    }

    /// The schedule of a run.
    public func schedule(steps: Int) -> LearningRateSchedule {
        LearningRateSchedule(warmupSteps: min(warmupSteps, steps / 10), totalSteps: steps)
    }
}

/// Linear warm-up, then a cosine down to zero (paper appendix: 500 warm-up steps).
public struct LearningRateSchedule: Sendable, Hashable {
    /// Steps over which the rate rises from zero.
    public var warmupSteps: Int
    /// Steps of the whole run; the rate reaches zero behind the last.
    public var totalSteps: Int

    public init(warmupSteps: Int, totalSteps: Int) {
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The share of the peak rate that `step`, counted from 1, is made with.
    ///
    /// Warm-up: step / warmup. After it: ½ (1 + cos(π (step − warmup) / (total − warmup + 1))).
    public func factor(at step: Int) -> Double {
        if step <= warmupSteps { return Double(step) / Double(warmupSteps) }
        let progress = Double(step - warmupSteps) / Double(max(1, totalSteps - warmupSteps + 1))
        return 0.5 * (1 + cos(.pi * min(1, progress)))
    }
}
