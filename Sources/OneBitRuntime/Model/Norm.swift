import ModelDescription

/// A norm with weights:
///
///     y = x / √(mean(x²) + ε) ⊙ w                      RMSNorm
///     y = (x − mean x) / √(var x + ε) ⊙ w + b          LayerNorm
struct Norm: Sendable {
    private let weight: FloatVector
    /// LayerNorm's b; an RMSNorm has none.
    private let bias: FloatVector?
    private let epsilon: Float

    /// Numbers that are normalised together.
    var width: Int { weight.count }

    init(_ description: NormDescription, epsilon: Float, of checkpoint: Checkpoint) throws {
        weight = try FloatVector(description.weight.name, of: checkpoint)
        bias = try description.bias.map { try FloatVector($0.name, of: checkpoint) }
        self.epsilon = epsilon
    }

    /// x, y: [rows, width]; y may be x.
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, kernels: Kernels,
        member: inout Team.Member
    ) {
        member.forEach(rows) { range in
            for row in range { normalize(x + row * width, into: y + row * width, kernels: kernels) }
        }
    }

    /// One row, on the thread at hand; y may be x.
    func normalize(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, kernels: Kernels) {
        guard let bias else {
            kernels.pointee.rms_norm(x, weight.pointer, width, epsilon, y)
            return
        }
        kernels.pointee.layer_norm(x, width, epsilon, y)
        kernels.pointee.scale(y, weight.pointer, width, y)
        kernels.pointee.add(bias.pointer, width, y)
    }
}
