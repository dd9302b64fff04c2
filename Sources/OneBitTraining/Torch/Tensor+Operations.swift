import CLibTorch

/// How the gradient passes through the sign function, whose own derivative is zero almost everywhere.
public enum SignGradient: String, Sendable, Codable, CaseIterable {
    /// `dw = dy (1.001 − tanh²w)`, as the paper's released code has it.
    case tanh
    /// `dw = dy` where `|w| < 1`, else 0: the hard straight-through estimator.
    case hard

    var door: lt_sign_gradient {
        switch self {
        case .tanh: LT_SIGN_TANH
        case .hard: LT_SIGN_HARD
        }
    }
}

// MARK: Shape

extension Tensor {
    public func reshaped(_ shape: [Int]) throws -> Tensor {
        try Tensor(lt_reshape(handle, shape.dimensions, Int32(shape.count)), "reshape to \(shape)")
    }

    public func transposed(_ first: Int, _ second: Int) throws -> Tensor {
        try Tensor(lt_transpose(handle, Int32(first), Int32(second)), "transpose")
    }

    /// A view of `length` slices from `start` along `dimension`.
    public func narrowed(_ dimension: Int, from start: Int, length: Int) throws -> Tensor {
        try Tensor(lt_narrow(handle, Int32(dimension), Int64(start), Int64(length)), "narrow")
    }

    /// The slices along `dimension` that `indices` names.
    public func selecting(_ indices: Tensor, along dimension: Int) throws -> Tensor {
        try Tensor(lt_index_select(handle, Int32(dimension), indices.handle), "index select")
    }

    /// Each slice along `dimension` repeated in place: a, a, b, b, …
    public func repeatingEach(_ times: Int, along dimension: Int) throws -> Tensor {
        try Tensor(lt_repeat_interleave(handle, Int64(times), Int32(dimension)), "repeat")
    }

    /// The same values, cut off from the backward pass.
    public func detached() throws -> Tensor { try Tensor(lt_detach(handle), "detach") }

    /// A copy with storage of its own.
    public func cloned() throws -> Tensor { try Tensor(lt_clone(handle), "clone") }
}

// MARK: Arithmetic

extension Tensor {
    public static func + (a: Tensor, b: Tensor) throws -> Tensor { try Tensor(lt_add(a.handle, b.handle), "+") }
    public static func - (a: Tensor, b: Tensor) throws -> Tensor { try Tensor(lt_subtract(a.handle, b.handle), "-") }
    public static func * (a: Tensor, b: Tensor) throws -> Tensor { try Tensor(lt_multiply(a.handle, b.handle), "*") }
    public static func * (a: Tensor, b: Double) throws -> Tensor { try Tensor(lt_scale(a.handle, b), "*") }
    public func sum() throws -> Tensor { try Tensor(lt_sum(handle), "sum") }
}

// MARK: Layers

extension Tensor {
    /// Rows of this [vocabulary, width] table for `tokens` [batch, length].
    public func embedding(_ tokens: Tensor) throws -> Tensor {
        try Tensor(lt_embedding(handle, tokens.handle), "embedding")
    }

    /// x Wᵀ + b for `weight` [out, in] and `bias` [out].
    public func linear(_ weight: Tensor, bias: Tensor? = nil) throws -> Tensor {
        try withExtendedLifetime(bias) { try Tensor(lt_linear(handle, weight.handle, bias?.handle), "linear") }
    }

    /// (x − mean(x)) / sqrt(var(x) + ε) ⊙ weight + bias, over the last dimension.
    public func layerNorm(_ weight: Tensor, bias: Tensor, epsilon: Float) throws -> Tensor {
        try Tensor(lt_layer_norm(handle, weight.handle, bias.handle, Double(epsilon)), "LayerNorm")
    }

    /// max(x, 0).
    public func relu() throws -> Tensor { try Tensor(lt_relu(handle), "ReLU") }

    /// x / sqrt(mean(x²) + ε) ⊙ weight, over the last dimension.
    public func rmsNorm(_ weight: Tensor, epsilon: Float) throws -> Tensor {
        try Tensor(lt_rms_norm(handle, weight.handle, Double(epsilon)), "RMSNorm")
    }

    /// silu(gate) ⊙ up.
    public static func swiGLU(gate: Tensor, up: Tensor) throws -> Tensor {
        try Tensor(lt_swiglu(gate.handle, up.handle), "SwiGLU")
    }

    /// Rotary position embedding of [batch, length, heads, size] by tables [length, size / 2], or [batch, length,
    /// size / 2] where each sequence has its own positions; halves split.
    public func rotary(cosines: Tensor, sines: Tensor) throws -> Tensor {
        try Tensor(lt_rotary(handle, cosines.handle, sines.handle), "rotary embedding")
    }

    /// softmax(q kᵀ / √size + mask) v over [batch, heads, length, size].
    public static func attention(_ q: Tensor, _ k: Tensor, _ v: Tensor, mask: Tensor?, causal: Bool) throws -> Tensor {
        try withExtendedLifetime(mask) {
            try Tensor(lt_attention(q.handle, k.handle, v.handle, mask?.handle, causal), "attention")
        }
    }

    /// The OneBit layer (paper eq. 3): Y = ((X ⊙ g) sign(W)ᵀ) ⊙ h, then LayerNorm where `layerNormEpsilon` is given.
    ///
    /// - Parameters:
    ///   - latent: W [out, in]; only its signs matter forward.
    ///   - inputScale: g [in].
    ///   - outputScale: h [out].
    ///   - layerNormEpsilon: ε of the LayerNorm; nil leaves it out.
    ///   - gradient: How the gradient passes through sign.
    public func signLinear(
        latent: Tensor,
        inputScale: Tensor,
        outputScale: Tensor,
        layerNormEpsilon: Float?,
        gradient: SignGradient
    ) throws -> Tensor {
        try Tensor(
            lt_sign_linear(
                handle, latent.handle, inputScale.handle, outputScale.handle,
                layerNormEpsilon.map(Double.init) ?? -1, gradient.door),
            "OneBit layer"
        )
    }
}

// MARK: Losses

extension Tensor {
    /// Σ over rows of KL(softmax(teacher) ‖ softmax(self)), in nats.
    public func klDivergence(fromTeacher teacher: Tensor) throws -> Tensor {
        try Tensor(lt_kl_divergence(teacher.handle, handle), "KL divergence")
    }

    /// Mean over rows of ‖t/‖t‖₂ − s/‖s‖₂‖².
    public func directionLoss(fromTeacher teacher: Tensor) throws -> Tensor {
        try Tensor(lt_direction_loss(teacher.handle, handle), "hidden-state loss")
    }

    /// Mean over rows of −log softmax(self)[target], in nats.
    public func crossEntropy(_ targets: Tensor) throws -> Tensor {
        try Tensor(lt_cross_entropy(handle, targets.handle), "cross entropy")
    }
}

// MARK: Decoding

extension Tensor {
    /// log softmax over the last dimension.
    public func logSoftmax() throws -> Tensor { try Tensor(lt_log_softmax(handle), "log softmax") }

    /// The elements of the flattened tensor that `indices` names.
    public func taking(_ indices: Tensor) throws -> Tensor { try Tensor(lt_take(handle, indices.handle), "take") }

    /// Index of the largest logit of each row.
    public func argmax() throws -> Tensor { try Tensor(lt_argmax(handle), "argmax") }

    /// One draw per row from softmax(self).
    public func sampled(using generator: TorchGenerator) throws -> Tensor {
        try Tensor(lt_sample(handle, generator.handle), "sampling")
    }
}
