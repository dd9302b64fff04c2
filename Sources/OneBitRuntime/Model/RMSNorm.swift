import ModelFiles

/// y = x / √(mean(x²) + ε) ⊙ w
struct RMSNorm: Sendable {
    private let weight: [Float]
    private let epsilon: Float

    init(_ name: String, epsilon: Float, of checkpoint: Checkpoint) throws {
        weight = try checkpoint.floats(of: name)
        self.epsilon = epsilon
    }

    /// x, y: [tokens, count of w].
    func callAsFunction(
        _ x: UnsafePointer<Float>,
        tokens: Int,
        into y: UnsafeMutablePointer<Float>,
        execution: Execution
    ) {
        let norm = execution.instructionSet.kernels.pointee.rms_norm
        let width = weight.count
        weight.withUnsafeBufferPointer { w in
            execution.pool.run(count: tokens, operations: width) { range, _ in
                for t in range { norm(x + t * width, w.baseAddress!, width, epsilon, y + t * width) }
            }
        }
    }
}
