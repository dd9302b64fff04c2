import CLibTorch

// MARK: Shape

extension Tensor {
    public func reshaped(_ shape: [Int]) throws -> Tensor {
        try .compute("reshape to \(shape)", self) { lt_reshape($0[0], shape.dimensions, shape.rank) }
    }

    public func transposed(_ first: Int, _ second: Int) throws -> Tensor {
        try .compute("transpose", self) { lt_transpose($0[0], Int32(first), Int32(second)) }
    }

    /// A view of `length` slices from `start` along `dimension`.
    public func narrowed(_ dimension: Int, from start: Int, length: Int) throws -> Tensor {
        try .compute("narrow", self) { lt_narrow($0[0], Int32(dimension), Int64(start), Int64(length)) }
    }

    /// The slices along `dimension` whose numbers are in `indices`.
    public func selecting(_ indices: Tensor, along dimension: Int) throws -> Tensor {
        try .compute("index select", self, indices) { lt_index_select($0[0], Int32(dimension), $0[1]) }
    }

    /// Tensors one behind the other along a dimension that they have.
    public static func concatenated(_ tensors: [Tensor], along dimension: Int) throws -> Tensor {
        if tensors.count == 1 { return tensors[0] }
        return try withHandles(tensors) { handles in
            try compute("concatenation") { _ in lt_concatenate(handles, Int32(handles.count), Int32(dimension)) }
        }
    }

    /// Tensors of one shape one behind the other along a new first dimension.
    public static func stacked(_ tensors: [Tensor]) throws -> Tensor {
        try withHandles(tensors) { handles in
            try compute("stacking") { _ in lt_stack(handles, Int32(handles.count)) }
        }
    }

    /// The same values, cut off from the backward pass.
    public func detached() throws -> Tensor { try .compute("detach", self) { lt_detach($0[0]) } }
}

// MARK: Arithmetic

extension Tensor {
    public static func + (a: Tensor, b: Tensor) throws -> Tensor { try compute("+", a, b) { lt_add($0[0], $0[1]) } }
    public static func - (a: Tensor, b: Tensor) throws -> Tensor {
        try compute("-", a, b) { lt_subtract($0[0], $0[1]) }
    }
    public static func * (a: Tensor, b: Tensor) throws -> Tensor {
        try compute("*", a, b) { lt_multiply($0[0], $0[1]) }
    }
    public static func * (a: Tensor, b: Double) throws -> Tensor { try compute("*", a) { lt_scale($0[0], b) } }
    public func sum() throws -> Tensor { try .compute("sum", self) { lt_sum($0[0]) } }
}

// MARK: Layers

extension Tensor {
    /// Rows of this [vocabulary, width] table for `tokens` [batch, length].
    public func embedding(_ tokens: Tensor) throws -> Tensor {
        try .compute("embedding", self, tokens) { lt_embedding($0[0], $0[1]) }
    }

    /// x Wᵀ + b for `weight` [out, in] and `bias` [out].
    public func linear(_ weight: Tensor, bias: Tensor? = nil) throws -> Tensor {
        try .compute("linear", self, weight, bias) { lt_linear($0[0], $0[1], $0[2]) }
    }

    /// (x − mean(x)) / sqrt(var(x) + ε) ⊙ weight + bias, over the last dimension.
    public func layerNorm(_ weight: Tensor, bias: Tensor, epsilon: Float) throws -> Tensor {
        try .compute("LayerNorm", self, weight, bias) { lt_layer_norm($0[0], $0[1], $0[2], Double(epsilon)) }
    }

    /// max(x, 0).
    public func relu() throws -> Tensor { try .compute("ReLU", self) { lt_relu($0[0]) } }
    /// gelu(x), approximated by tanh.
    public func gelu() throws -> Tensor { try .compute("GELU", self) { lt_gelu_tanh($0[0]) } }

    /// x / sqrt(mean(x²) + ε) ⊙ weight, over the last dimension.
    public func rmsNorm(_ weight: Tensor, epsilon: Float) throws -> Tensor {
        try .compute("RMSNorm", self, weight) { lt_rms_norm($0[0], $0[1], Double(epsilon)) }
    }

    /// cap · tanh(x / cap).
    public func softCapped(at cap: Double) throws -> Tensor {
        try .compute("a soft cap", self) { lt_soft_cap($0[0], cap) }
    }

    /// silu(gate) ⊙ up.
    public static func swiGLU(gate: Tensor, up: Tensor) throws -> Tensor {
        try compute("SwiGLU", gate, up) { lt_swiglu($0[0], $0[1]) }
    }

    /// Rotary position embedding of [batch, length, heads, size] by tables [length, size / 2], or [batch, length,
    /// size / 2] where each sequence has its own positions; halves split.
    public func rotary(cosines: Tensor, sines: Tensor) throws -> Tensor {
        try .compute("rotary embedding", self, cosines, sines) { lt_rotary($0[0], $0[1], $0[2]) }
    }

    /// softmax(q kᵀ / √size + mask) v over [batch, heads, length, size]. Keys and values may have fewer heads, each of which
    /// then serves as many query heads in a row.
    ///
    /// - Parameter softCap: What caps the scores, as ``softCapped(at:)`` does, before the mask.
    public static func attention(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, mask: Tensor?, causal: Bool, softCap: Double? = nil
    ) throws -> Tensor {
        try compute("attention", q, k, v, mask) { lt_attention($0[0], $0[1], $0[2], $0[3], causal, softCap ?? 0) }
    }
}

// MARK: Decoding

extension Tensor {
    /// log softmax over the last dimension.
    public func logSoftmax() throws -> Tensor { try .compute("log softmax", self) { lt_log_softmax($0[0]) } }

    /// The elements of the flattened tensor at `indices`.
    public func taking(_ indices: Tensor) throws -> Tensor {
        try .compute("take", self, indices) { lt_take($0[0], $0[1]) }
    }

    /// Index of the largest logit of each row.
    public func argmax() throws -> Tensor { try .compute("argmax", self) { lt_argmax($0[0]) } }

}
