import CLibTorch

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

/// Settings of AdamW (Loshchilov & Hutter 2019).
public struct OptimizerSettings: Sendable, Hashable, Codable {
    public var learningRates: LearningRates
    public var beta1 = 0.9
    public var beta2 = 0.98
    public var epsilon = 1e-8
    public var weightDecay = 0.01
    /// Largest joint 2-norm of the gradients.
    public var gradientClip = 1.0

    public init(learningRates: LearningRates) { self.learningRates = learningRates }
}

/// AdamW over the trained parameters of a model:
///
///     m ← β₁ m + (1 − β₁) d,  v ← β₂ v + (1 − β₂) d²
///     w ← w − η (λ w + m̂ / (√v̂ + ε)),  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)
final class AdamW {
    let settings: OptimizerSettings
    /// The parameters that are trained, in checkpoint order.
    let parameters: [Parameter]
    /// m of each parameter.
    let firstMoments: [Tensor]
    /// v of each parameter.
    let secondMoments: [Tensor]

    /// Takes the parameters whose group has a learning rate above zero.
    init(_ parameters: [Parameter], settings: OptimizerSettings) throws {
        self.settings = settings
        self.parameters = parameters.filter { settings.learningRates[$0.group] > 0 }
        firstMoments = try self.parameters.map { try Tensor.zeros($0.tensor.shape) }
        secondMoments = try self.parameters.map { try Tensor.zeros($0.tensor.shape) }
    }

    /// Clips the gathered gradients, moves the parameters and forgets the gradients.
    ///
    /// - Parameters:
    ///   - number: Steps made so far, this one included.
    ///   - factor: The schedule's share of the peak learning rates.
    /// - Returns: Norm of the gradients before clipping. Where it is not finite, nothing is moved.
    func step(_ number: Int, factor: Double) throws -> Double {
        let norm = try clipGradients(of: parameters.map(\.tensor), to: settings.gradientClip)
        guard norm.isFinite else { return norm }
        for group in ParameterGroup.allCases {
            let members = parameters.indices.filter { parameters[$0].group == group }
            guard !members.isEmpty else { continue }
            var values: [OpaquePointer?] = members.map { parameters[$0].tensor.handle }
            var first: [OpaquePointer?] = members.map { firstMoments[$0].handle }
            var second: [OpaquePointer?] = members.map { secondMoments[$0].handle }
            try check(
                lt_adamw(
                    &values, &first, &second, Int32(members.count), Int64(number),
                    settings.learningRates[group] * factor, settings.beta1, settings.beta2, settings.epsilon,
                    settings.weightDecay),
                "AdamW step"
            )
        }
        for parameter in parameters { parameter.tensor.clearGradient() }
        return norm
    }
}
