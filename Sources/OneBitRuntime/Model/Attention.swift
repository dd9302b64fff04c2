import ModelFiles

/// Grouped-query attention with rotary positions, over a key/value cache:
///
///     q, k, v = x Wqᵀ, x Wkᵀ, x Wvᵀ;   q, k turned by their positions
///     a_t = Σ_{p ≤ t} softmax_p(q_t · k_p / √d) v_p      per query head; several share a key/value head
///     y = a Woᵀ
struct Attention: Sendable {
    /// `self_attn.q_proj`
    private let query: SignLinear
    /// `self_attn.k_proj`
    private let key: SignLinear
    /// `self_attn.v_proj`
    private let value: SignLinear
    /// `self_attn.o_proj`
    private let output: SignLinear

    private let headCount: Int
    private let keyValueHeadCount: Int
    private let headSize: Int

    init(
        query: SignLinear,
        key: SignLinear,
        value: SignLinear,
        output: SignLinear,
        configuration: ModelConfiguration
    ) {
        self.query = query
        self.key = key
        self.value = value
        self.output = output
        headCount = configuration.attentionHeadCount
        keyValueHeadCount = configuration.keyValueHeadCount
        headSize = configuration.headSize
    }

    /// x, y: [tokens, hiddenSize], the tokens at `position`, `position + 1`, …; their keys and values enter the cache.
    func callAsFunction(
        _ x: UnsafePointer<Float>,
        tokens: Int,
        position: Int,
        into y: UnsafeMutablePointer<Float>,
        cache: KeyValueCache.Layer,
        workspace: Workspace,
        execution: Execution
    ) {
        let width = keyValueHeadCount * headSize
        let q = workspace.queries.pointer
        let keys = cache.keys.pointer
        let values = cache.values.pointer
        let scratch = workspace.scratch
        query(x, tokens: tokens, into: q, scratch: scratch, execution: execution)
        key(x, tokens: tokens, into: keys + position * width, scratch: scratch, execution: execution)
        value(x, tokens: tokens, into: values + position * width, scratch: scratch, execution: execution)
        rotate(q, heads: headCount, tokens: tokens, workspace: workspace, execution: execution)
        rotate(
            keys + position * width,
            heads: keyValueHeadCount,
            tokens: tokens,
            workspace: workspace,
            execution: execution
        )

        let attend = execution.instructionSet.kernels.pointee.attention
        let attended = workspace.attended.pointer
        let scale = 1 / Float(headSize).squareRoot()
        let groupSize = headCount / keyValueHeadCount
        execution.pool.run(
            count: tokens * headCount,
            operations: (position + tokens) * headSize
        ) { range, worker in
            let weights = workspace.attentionWeights(worker: worker)
            for index in range {
                let (t, head) = index.quotientAndRemainder(dividingBy: headCount)
                let first = head / groupSize * headSize
                attend(
                    q + index * headSize,
                    keys + first,
                    values + first,
                    width,
                    position + t + 1,
                    headSize,
                    scale,
                    weights,
                    attended + index * headSize
                )
            }
        }
        output(attended, tokens: tokens, into: y, scratch: scratch, execution: execution)
    }

    /// x: [tokens, heads, headSize].
    private func rotate(
        _ x: UnsafeMutablePointer<Float>,
        heads: Int,
        tokens: Int,
        workspace: Workspace,
        execution: Execution
    ) {
        let rotateHalf = execution.instructionSet.kernels.pointee.rotate_half
        let cosines = workspace.cosines.pointer
        let sines = workspace.sines.pointer
        execution.pool.run(count: tokens, operations: heads * headSize) { range, _ in
            for t in range {
                for head in 0..<heads {
                    let angles = t * headSize / 2
                    rotateHalf(x + (t * heads + head) * headSize, headSize, cosines + angles, sines + angles)
                }
            }
        }
    }
}
