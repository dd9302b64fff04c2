import CLibTorch

/// Runs `body` without recording it for the backward pass.
public func withoutGradient<Result>(_ body: () throws -> Result) rethrows -> Result {
    let previous = lt_set_gradient_recording(false)
    defer { lt_set_gradient_recording(previous) }
    return try body()
}

extension Tensor {
    /// The same values as a leaf of the backward pass, which gradients can be asked of.
    public func requiringGradient() throws -> Tensor {
        try .compute("a leaf of the backward pass", self) { lt_requiring_gradient($0[0]) }
    }

    /// The gradients of this scalar by each of the leaves; nil for one that it does not depend on.
    ///
    /// Several threads may do this at once with the same leaves.
    public func gradients(by leaves: [Tensor]) throws -> [Tensor?] {
        try Tensor.withHandles([self] + leaves) { handles in
            var gradients = [OpaquePointer?](repeating: nil, count: leaves.count)
            let leaves = Array(handles.dropFirst())
            try check(lt_gradients(handles[0], leaves, Int32(leaves.count), &gradients), "the backward pass")
            return Tensor.adopt(gradients)
        }
    }

    /// The joint 2-norm of several tensors; 0 without any.
    public static func jointNorm(_ tensors: [Tensor]) throws -> Double {
        var norm = 0.0
        try withHandles(tensors) { try check(lt_joint_norm($0, Int32($0.count), &norm), "the norm of the gradients") }
        return norm
    }
}

/// What AdamW keeps of a parameter.
public struct AdamWState: Sendable {
    /// w.
    public var value: Tensor
    /// m, the running mean of the gradient.
    public var firstMoment: Tensor
    /// v, the running mean of its square.
    public var secondMoment: Tensor

    public init(value: Tensor, firstMoment: Tensor, secondMoment: Tensor) {
        self.value = value
        self.firstMoment = firstMoment
        self.secondMoment = secondMoment
    }

    /// The state after one step (Loshchilov & Hutter 2019), d being the gradient times `gradientFactor`:
    ///
    ///     m ← β₁ m + (1 − β₁) d,  v ← β₂ v + (1 − β₂) d²
    ///     w ← w − η (λ w + m̂ / (√v̂ + ε)),  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)
    ///
    /// - Parameters:
    ///   - gradient: of the loss by w.
    ///   - gradientFactor: what clipping leaves of it.
    ///   - step: t, counted from 1.
    ///   - learningRate: η.
    ///   - beta1: β₁.
    ///   - beta2: β₂.
    ///   - epsilon: ε.
    ///   - weightDecay: λ.
    public func stepped(
        gradient: Tensor, gradientFactor: Double, step: Int, learningRate: Double, beta1: Double, beta2: Double,
        epsilon: Double, weightDecay: Double
    ) throws -> AdamWState {
        let settings = lt_adamw_settings(
            step: Int64(step), learning_rate: learningRate, beta1: beta1, beta2: beta2, epsilon: epsilon,
            weight_decay: weightDecay, gradient_factor: gradientFactor)
        var result = [OpaquePointer?](repeating: nil, count: 3)
        try Tensor.withHandles([value, gradient, firstMoment, secondMoment]) {
            try check(lt_adamw($0[0], $0[1], $0[2], $0[3], settings, &result), "an AdamW step")
        }
        let tensors = Tensor.adopt(result).compactMap(\.self)
        return AdamWState(value: tensors[0], firstMoment: tensors[1], secondMoment: tensors[2])
    }
}
