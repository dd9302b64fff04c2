import ModelFiles

/// One transformer block:
///
///     x ← x + Attention(RMSNorm(x))
///     x ← x + MLP(RMSNorm(x))
struct DecoderBlock: Sendable {
    /// `input_layernorm`
    private let attentionNorm: RMSNorm
    private let attention: Attention
    /// `post_attention_layernorm`
    private let mlpNorm: RMSNorm
    private let mlp: GatedMLP

    /// - Parameter signs: of the block's linears in forward order.
    init(layer: Int, signs: ArraySlice<PackedSigns>, layout: SignLayout, of checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        let quantization = configuration.quantization
        let layerNormEpsilon = quantization?.postLayerNorm == true ? quantization?.layerNormEpsilon : nil
        // In forward order: q, k, v, o, gate, up, down.
        let linears = try zip(configuration.blockLinears(layer: layer), signs).map {
            try SignLinear($0, signs: $1, of: checkpoint, layerNormEpsilon: layerNormEpsilon)
        }
        let norms = try configuration.blockFloatTensors(layer: layer).map {
            try RMSNorm($0.name, epsilon: configuration.normEpsilon, of: checkpoint)
        }
        attentionNorm = norms[0]
        attention = Attention(
            layer: layer,
            queryKeyValue: SignLinearGroup(Array(linears[0...2]), layout: layout),
            output: SignLinearGroup([linears[3]], layout: layout),
            configuration: configuration
        )
        mlpNorm = norms[1]
        mlp = GatedMLP(
            gateUp: SignLinearGroup(Array(linears[4...5]), layout: layout),
            down: SignLinearGroup([linears[6]], layout: layout),
            width: configuration.intermediateSize
        )
    }

    /// x, the residual stream: [rows, hiddenSize].
    func callAsFunction(
        _ x: UnsafeMutablePointer<Float>, rows: Int, segments: [Segment], workspace: Workspace, execution: Execution,
        member: inout Team.Member
    ) {
        let normed = workspace.normed.pointer
        let change = workspace.change.pointer
        let kernels = execution.kernels
        let width = workspace.hiddenSize

        func addChange(_ member: inout Team.Member) {
            member.forEach(rows) { range in
                kernels.pointee.add(
                    change + range.lowerBound * width, range.count * width, x + range.lowerBound * width)
            }
        }
        attentionNorm(x, rows: rows, into: normed, kernels: kernels, member: &member)
        attention(
            normed, rows: rows, segments: segments, into: change, workspace: workspace, execution: execution,
            member: &member)
        addChange(&member)

        mlpNorm(x, rows: rows, into: normed, kernels: kernels, member: &member)
        mlp(normed, rows: rows, into: change, workspace: workspace, execution: execution, member: &member)
        addChange(&member)
    }
}
