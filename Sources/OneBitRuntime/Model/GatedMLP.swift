import ModelFiles

/// SwiGLU: y = (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ
struct GatedMLP: Sendable {
    /// Channels of one token that one part of the loop over them takes.
    private static let partChannels = 2048

    /// `mlp.gate_proj`, `mlp.up_proj`
    let gateUp: SignLinearGroup
    /// `mlp.down_proj`
    let down: SignLinearGroup
    let width: Int

    /// x, y: [rows, hiddenSize].
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, workspace: Workspace,
        execution: Execution, member: inout Team.Member
    ) {
        let gated = workspace.gated.pointer
        let raised = workspace.raised.pointer
        gateUp(
            x, rows: rows, scratch: workspace.scratch, execution: execution, member: &member
        ) { $0 == 0 ? gated : raised }
        // The rows lie one after the other, so channels of all of them are one run.
        member.forEach(rows * width, grain: Self.partChannels) { range in
            let first = range.lowerBound
            execution.kernels.pointee.swiglu(gated + first, raised + first, range.count, gated + first)
        }
        down(gated, rows: rows, scratch: workspace.scratch, execution: execution, member: &member) { _ in y }
    }
}
