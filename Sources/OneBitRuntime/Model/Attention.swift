import CSignKernels
import ModelFiles

/// Grouped-query attention with rotary positions, over a key/value cache:
///
///     q, k, v = x Wqᵀ, x Wkᵀ, x Wvᵀ;   q, k turned by their positions
///     a_t = Σ_{p ≤ t} softmax_p(q_t · k_p / √d) v_p      per query head; several share a key/value head
///     y = a Woᵀ
struct Attention: Sendable {
    /// Tokens of a sequence that one part of the loop over attention takes.
    private static let partTokens = 8

    /// `self_attn.q_proj`, `k_proj`, `v_proj`
    private let queryKeyValue: SignLinearGroup
    /// `self_attn.o_proj`
    private let output: SignLinearGroup

    private let layer: Int
    private let keyValueHeadCount: Int
    private let headSize: Int
    /// Query heads to a key/value head.
    private let groupSize: Int

    init(
        layer: Int, queryKeyValue: SignLinearGroup, output: SignLinearGroup, configuration: ModelConfiguration
    ) {
        self.layer = layer
        self.queryKeyValue = queryKeyValue
        self.output = output
        keyValueHeadCount = configuration.keyValueHeadCount
        headSize = configuration.headSize
        groupSize = configuration.attentionHeadCount / configuration.keyValueHeadCount
    }

    /// x, y: [rows, hiddenSize]; keys and values of the rows enter their segments' caches.
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, segments: [Segment], into y: UnsafeMutablePointer<Float>,
        workspace: Workspace, execution: Execution, member: inout Team.Member
    ) {
        queryKeyValue(
            x, rows: rows, scratch: workspace.scratch, execution: execution, member: &member
        ) { index in
            switch index {
            case 0: workspace.queries.pointer
            case 1: workspace.keys.pointer
            default: workspace.values.pointer
            }
        }
        remember(segments, workspace, execution, &member)
        attend(segments, workspace, execution, &member)
        output(
            workspace.attended.pointer, rows: rows, scratch: workspace.scratch, execution: execution, member: &member
        ) { _ in y }
    }

    /// Turns queries and keys by their positions; keys and values go to the caches.
    private func remember(
        _ segments: [Segment], _ workspace: Workspace, _ execution: Execution, _ member: inout Team.Member
    ) {
        let kernels = execution.kernels
        let half = headSize / 2
        for segment in segments {
            member.forEach(segment.rows.count) { range in
                for row in range.lowerBound + segment.rows.lowerBound..<range.upperBound + segment.rows.lowerBound {
                    let position = segment.position + row - segment.rows.lowerBound
                    let cosines = workspace.cosines.pointer + row * half
                    let sines = workspace.sines.pointer + row * half
                    for head in 0..<keyValueHeadCount * groupSize {
                        let query =
                            workspace.queries.pointer
                            + (row * keyValueHeadCount * groupSize + head) * headSize
                        kernels.pointee.rotate_half(query, headSize, cosines, sines)
                    }
                    for head in 0..<keyValueHeadCount {
                        let offset = (row * keyValueHeadCount + head) * headSize
                        let key = workspace.keys.pointer + offset
                        kernels.pointee.rotate_half(key, headSize, cosines, sines)
                        kernels.pointee.narrow_float16(
                            key, headSize,
                            segment.cache.keys(layer: layer, head: head) + position * segment.cache.rowSize)
                        kernels.pointee.narrow_float16(
                            workspace.values.pointer + offset, headSize,
                            segment.cache.values(layer: layer, head: head) + position * segment.cache.rowSize)
                    }
                }
            }
        }
    }

    private func attend(
        _ segments: [Segment], _ workspace: Workspace, _ execution: Execution, _ member: inout Team.Member
    ) {
        let kernels = execution.kernels
        let scale = 1 / Float(headSize).squareRoot()
        let width = keyValueHeadCount * groupSize * headSize
        let room = workspace.attentionRoom(member: member.index)
        for segment in segments {
            let blocks = (segment.rows.count + Self.partTokens - 1) / Self.partTokens
            member.forEach(blocks * keyValueHeadCount) { range in
                for index in range {
                    let (block, head) = index.quotientAndRemainder(dividingBy: keyValueHeadCount)
                    let first = block * Self.partTokens
                    let tokens = min(Self.partTokens, segment.rows.count - first)
                    let offset = (segment.rows.lowerBound + first) * width + head * groupSize * headSize
                    kernels.pointee.attention(
                        workspace.queries.pointer + offset, width, tokens, groupSize,
                        segment.cache.keys(layer: layer, head: head), segment.cache.values(layer: layer, head: head),
                        segment.cache.rowSize, segment.position + first + 1, headSize, scale, room,
                        workspace.attended.pointer + offset)
                }
            }
        }
    }
}
