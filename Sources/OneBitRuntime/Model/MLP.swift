import ModelDescription

/// The perceptron of a block:
///
///     y = (silu(x Wgᵀ) ⊙ x Wuᵀ) Wdᵀ        gated
///     y = relu(x Wuᵀ) Wdᵀ                  otherwise
struct MLP: Sendable {
    /// Channels of one token that one part of the loop over them takes.
    private static let partChannels = 2048

    /// `up_proj`, behind `gate_proj` where there is one.
    private let up: SignLinearGroup
    private let down: SignLinearGroup
    private let isGated: Bool
    private let width: Int

    /// - Parameter linears: gate, if there is one, up and down.
    init(_ linears: [SignLinear], layout: SignLayout) {
        isGated = linears.count == 3
        up = SignLinearGroup(Array(linears.dropLast()), layout: layout)
        down = SignLinearGroup([linears[linears.count - 1]], layout: layout)
        width = linears[0].outputs
    }

    /// x, y: [rows, hiddenSize].
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, into y: UnsafeMutablePointer<Float>, workspace: Workspace,
        execution: Execution, member: inout Team.Member
    ) {
        let activated = workspace.activated.pointer
        let raised = workspace.raised.pointer
        up(
            x, rows: rows, scratch: workspace.scratch, execution: execution, member: &member
        ) { $0 == 0 ? activated : raised }
        // The rows lie one after the other, so channels of all of them are one run.
        member.forEach(rows * width, grain: Self.partChannels) { range in
            let first = activated + range.lowerBound
            if isGated {
                execution.kernels.pointee.swiglu(first, raised + range.lowerBound, range.count, first)
            } else {
                execution.kernels.pointee.relu(first, range.count, first)
            }
        }
        down(activated, rows: rows, scratch: workspace.scratch, execution: execution, member: &member) { _ in y }
    }
}
