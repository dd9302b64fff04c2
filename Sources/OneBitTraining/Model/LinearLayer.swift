/// A linear layer of a block: the teacher's dense matrix, or the student's signs between two value vectors.
enum LinearLayer: Sendable {
    case dense(weight: Tensor, bias: Tensor?)
    case oneBit(OneBitLayer)

    /// [batch, length, in] to [batch, length, out].
    func callAsFunction(_ x: Tensor) throws -> Tensor {
        switch self {
        case .dense(let weight, let bias): try x.linear(weight, bias: bias)
        case .oneBit(let layer): try layer(x)
        }
    }
}

/// Y = ((X ⊙ g) sign(W)ᵀ) ⊙ h, Z = LayerNorm(Y) (paper eq. 3), in its training form; Z + b where the family has biases.
struct OneBitLayer: Sendable {
    /// W [out, in]: the float matrix whose signs the layer uses. Checkpoint key `….weight`.
    let latent: Tensor
    /// g [in]. Checkpoint key `….input_factor`.
    let inputScale: Tensor
    /// h [out]. Checkpoint key `….weight_scale`.
    let outputScale: Tensor
    /// b [out]. Checkpoint key `….bias`.
    let bias: Tensor?
    /// ε of the LayerNorm behind the layer; nil where the recipe has none.
    let layerNormEpsilon: Float?
    /// How the gradient passes through sign.
    let signGradient: SignGradient

    func callAsFunction(_ x: Tensor) throws -> Tensor {
        let z = try x.signLinear(
            latent: latent,
            inputScale: inputScale,
            outputScale: outputScale,
            layerNormEpsilon: layerNormEpsilon,
            gradient: signGradient
        )
        return try bias.map { try z + $0 } ?? z
    }
}
