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

    init(layer: Int, of checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        let quantization = configuration.quantization
        let layerNormEpsilon = quantization?.postLayerNorm == true ? quantization?.layerNormEpsilon : nil
        // In forward order: q, k, v, o, gate, up, down.
        let linears = try configuration.blockLinears(layer: layer).map {
            try SignLinear($0, of: checkpoint, layerNormEpsilon: layerNormEpsilon)
        }
        let norms = try configuration.blockFloatTensors(layer: layer).map {
            try RMSNorm($0.name, epsilon: configuration.normEpsilon, of: checkpoint)
        }
        attentionNorm = norms[0]
        attention = Attention(
            query: linears[0],
            key: linears[1],
            value: linears[2],
            output: linears[3],
            configuration: configuration
        )
        mlpNorm = norms[1]
        mlp = GatedMLP(gate: linears[4], up: linears[5], down: linears[6])
    }

    /// x, the residual stream: [tokens, hiddenSize].
    func callAsFunction(
        _ x: UnsafeMutablePointer<Float>,
        tokens: Int,
        position: Int,
        cache: KeyValueCache.Layer,
        workspace: Workspace,
        execution: Execution
    ) {
        let normed = workspace.normed.pointer
        let change = workspace.change.pointer
        let add = execution.instructionSet.kernels.pointee.add
        let count = tokens * workspace.hiddenSize

        attentionNorm(x, tokens: tokens, into: normed, execution: execution)
        attention(
            normed,
            tokens: tokens,
            position: position,
            into: change,
            cache: cache,
            workspace: workspace,
            execution: execution
        )
        add(change, count, x)

        mlpNorm(x, tokens: tokens, into: normed, execution: execution)
        mlp(normed, tokens: tokens, into: change, workspace: workspace, execution: execution)
        add(change, count, x)
    }
}
