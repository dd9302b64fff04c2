import ModelFiles

/// y = x / √(mean(x²) + ε) ⊙ w
struct RMSNorm: Sendable {
    private let weight: FloatVector
    private let epsilon: Float

    init(_ name: String, epsilon: Float, of checkpoint: Checkpoint) throws {
        weight = try FloatVector(name, of: checkpoint)
        self.epsilon = epsilon
    }

    /// x, y: [rows, count of w].
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, kernels: Kernels,
        member: inout Team.Member
    ) {
        let width = weight.count
        member.forEach(rows) { range in
            for row in range {
                kernels.pointee.rms_norm(x + row * width, weight.pointer, width, epsilon, y + row * width)
            }
        }
    }
}
