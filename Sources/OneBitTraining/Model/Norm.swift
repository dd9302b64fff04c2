/// A norm with weights over the last dimension: RMSNorm without a bias, LayerNorm with one.
struct Norm: Sendable {
    let weight: Tensor
    let bias: Tensor?
    let epsilon: Float

    func callAsFunction(_ x: Tensor) throws -> Tensor {
        guard let bias else { return try x.rmsNorm(weight, epsilon: epsilon) }
        return try x.layerNorm(weight, bias: bias, epsilon: epsilon)
    }
}
