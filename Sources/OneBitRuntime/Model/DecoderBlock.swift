import ModelDescription

/// One transformer block, its norms before the sublayers or behind them:
///
///     x ← x + Attention(norm(x))          x ← norm(x + Attention(x))
///     x ← x + MLP(norm(x))                x ← norm(x + MLP(x))
struct DecoderBlock: Sendable {
    private let attentionNorm: Norm
    private let attention: Attention
    private let mlpNorm: Norm
    private let mlp: MLP
    private let normPlacement: DecoderStructure.NormPlacement

    /// - Parameter signs: of the block's linears in forward order.
    init(layer: Int, signs: ArraySlice<PackedSigns>, layout: SignLayout, of checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        let block = configuration.block(layer)
        let quantization = configuration.quantization
        let layerNormEpsilon = quantization?.postLayerNorm == true ? quantization?.layerNormEpsilon : nil
        let linears = try zip(block.linears, signs).map {
            try SignLinear($0, signs: $1, of: checkpoint, layerNormEpsilon: layerNormEpsilon)
        }
        func norm(_ description: NormDescription) throws -> Norm {
            try Norm(description, epsilon: configuration.normEpsilon, of: checkpoint)
        }
        attentionNorm = try norm(block.attentionNorm)
        attention = Attention(
            block,
            queryKeyValue: SignLinearGroup(Array(linears[0...2]), layout: layout),
            output: SignLinearGroup([linears[3]], layout: layout),
            queryNorm: try block.queryNorm.map(norm),
            keyNorm: try block.keyNorm.map(norm),
            configuration: configuration
        )
        mlpNorm = try norm(block.mlpNorm)
        mlp = MLP(Array(linears[4...]), layout: layout)
        normPlacement = configuration.structure.normPlacement
    }

    /// x, the residual stream: [rows, hiddenSize].
    func callAsFunction(
        _ x: UnsafeMutablePointer<Float>, rows: Int, segments: [Segment], workspace: Workspace, execution: Execution,
        member: inout Team.Member
    ) {
        add(norm: attentionNorm, to: x, rows: rows, workspace, execution, &member) { input, change, member in
            attention(
                input, rows: rows, segments: segments, into: change, workspace: workspace, execution: execution,
                member: &member)
        }
        add(norm: mlpNorm, to: x, rows: rows, workspace, execution, &member) { input, change, member in
            mlp(input, rows: rows, into: change, workspace: workspace, execution: execution, member: &member)
        }
    }

    /// Adds what a sublayer makes of x to it, and normalises where the norm stands.
    private func add(
        norm: Norm, to x: UnsafeMutablePointer<Float>, rows: Int, _ workspace: Workspace, _ execution: Execution,
        _ member: inout Team.Member,
        sublayer: (UnsafePointer<Float>, UnsafeMutablePointer<Float>, inout Team.Member) -> Void
    ) {
        let kernels = execution.kernels
        let width = workspace.hiddenSize
        let change = workspace.change.pointer
        switch normPlacement {
        case .beforeSublayers:
            norm(x, rows: rows, into: workspace.normed.pointer, kernels: kernels, member: &member)
            sublayer(workspace.normed.pointer, change, &member)
        case .afterSublayers:
            sublayer(x, change, &member)
        }
        member.forEach(rows) { range in
            for row in range {
                kernels.pointee.add(change + row * width, width, x + row * width)
                if normPlacement == .afterSublayers {
                    norm.normalize(x + row * width, into: x + row * width, kernels: kernels)
                }
            }
        }
    }
}
