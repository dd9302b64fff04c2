/// SwiGLU: y = (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ
struct GatedMLP: Sendable {
    /// `mlp.gate_proj`
    let gate: SignLinear
    /// `mlp.up_proj`
    let up: SignLinear
    /// `mlp.down_proj`
    let down: SignLinear

    /// x, y: [tokens, hiddenSize].
    func callAsFunction(
        _ x: UnsafePointer<Float>,
        tokens: Int,
        into y: UnsafeMutablePointer<Float>,
        workspace: Workspace,
        execution: Execution
    ) {
        let gated = workspace.gated.pointer
        let raised = workspace.raised.pointer
        let scratch = workspace.scratch
        gate(x, tokens: tokens, into: gated, scratch: scratch, execution: execution)
        up(x, tokens: tokens, into: raised, scratch: scratch, execution: execution)
        let swiglu = execution.instructionSet.kernels.pointee.swiglu
        let width = gate.outputs
        // An exponential costs some ten operations.
        execution.pool.run(count: tokens, operations: 16 * width) { range, _ in
            for t in range { swiglu(gated + t * width, raised + t * width, width, gated + t * width) }
        }
        down(gated, tokens: tokens, into: y, scratch: scratch, execution: execution)
    }
}
