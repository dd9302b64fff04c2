import CSignKernels
import ModelDescription

/// Grouped-query attention over a key/value cache:
///
///     q, k, v = x Wqᵀ, x Wkᵀ, x Wvᵀ       each head of q and k normalised where the family has it,
///                                         then turned by its position where positions are rotary
///     a_t = Σ_p softmax_p(q_t · k_p / √d) v_p      per query head; several share a key/value head
///     y = a Woᵀ
///
/// p runs over all positions up to t, or over the last `slidingWindow` of them.
struct Attention: Sendable {
    /// Tokens of a sequence that one part of the loop over attention takes.
    private static let partTokens = 8

    /// `self_attn.q_proj`, `k_proj`, `v_proj`
    private let queryKeyValue: SignLinearGroup
    /// `self_attn.o_proj`
    private let output: SignLinearGroup
    /// Of one head.
    private let queryNorm: Norm?
    private let keyNorm: Norm?
    private let isRotary: Bool
    private let slidingWindow: Int

    private let layer: Int
    private let keyValueHeadCount: Int
    private let headSize: Int
    /// Query heads to a key/value head.
    private let groupSize: Int

    init(
        _ block: BlockDescription, queryKeyValue: SignLinearGroup, output: SignLinearGroup, queryNorm: Norm?,
        keyNorm: Norm?, configuration: ModelConfiguration
    ) {
        layer = block.layer
        slidingWindow = block.slidingWindow ?? .max
        isRotary = if case .rotary = configuration.structure.positions { true } else { false }
        self.queryNorm = queryNorm
        self.keyNorm = keyNorm
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

    /// Normalises and turns queries and keys; keys and values go to the caches.
    private func remember(
        _ segments: [Segment], _ workspace: Workspace, _ execution: Execution, _ member: inout Team.Member
    ) {
        let kernels = execution.kernels
        let half = headSize / 2
        func place(_ head: UnsafeMutablePointer<Float>, norm: Norm?, row: Int) {
            norm?.normalize(head, into: head, kernels: kernels)
            guard isRotary else { return }
            kernels.pointee.rotate_half(
                head, headSize, workspace.cosines.pointer + row * half, workspace.sines.pointer + row * half)
        }
        for segment in segments {
            member.forEach(segment.rows.count) { range in
                for row in range.lowerBound + segment.rows.lowerBound..<range.upperBound + segment.rows.lowerBound {
                    let position = segment.position + row - segment.rows.lowerBound
                    for head in 0..<keyValueHeadCount * groupSize {
                        let query =
                            workspace.queries.pointer
                            + (row * keyValueHeadCount * groupSize + head) * headSize
                        place(query, norm: queryNorm, row: row)
                    }
                    for head in 0..<keyValueHeadCount {
                        let offset = (row * keyValueHeadCount + head) * headSize
                        let key = workspace.keys.pointer + offset
                        place(key, norm: keyNorm, row: row)
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
        let room = workspace.attentionRoom(member: member.index)
        for segment in segments {
            let blocks = (segment.rows.count + Self.partTokens - 1) / Self.partTokens
            member.forEach(blocks * keyValueHeadCount) { range in
                for index in range {
                    let (block, head) = index.quotientAndRemainder(dividingBy: keyValueHeadCount)
                    let first = block * Self.partTokens
                    let rows = first..<min(first + Self.partTokens, segment.rows.count)
                    // Tokens that see the whole sequence share the reading of it; the others' windows differ.
                    let whole = min(rows.upperBound, max(rows.lowerBound, slidingWindow - segment.position))
                    if whole > rows.lowerBound {
                        attend(rows.lowerBound..<whole, of: segment, head: head, workspace, execution, room)
                    }
                    for row in whole..<rows.upperBound {
                        attend(row..<row + 1, of: segment, head: head, workspace, execution, room)
                    }
                }
            }
        }
    }

    /// The queries of some of a segment's rows that share a key/value head, from the first position that the first of
    /// them sees.
    private func attend(
        _ rows: Range<Int>, of segment: Segment, head: Int, _ workspace: Workspace, _ execution: Execution,
        _ room: UnsafeMutablePointer<Float>
    ) {
        let width = keyValueHeadCount * groupSize * headSize
        let offset = (segment.rows.lowerBound + rows.lowerBound) * width + head * groupSize * headSize
        let end = segment.position + rows.lowerBound + 1
        let start = max(0, end - slidingWindow)
        let rowSize = segment.cache.rowSize
        execution.kernels.pointee.attention(
            workspace.queries.pointer + offset, width, rows.count, groupSize,
            segment.cache.keys(layer: layer, head: head) + start * rowSize,
            segment.cache.values(layer: layer, head: head) + start * rowSize, rowSize, end - start, headSize,
            1 / Float(headSize).squareRoot(), room, workspace.attended.pointer + offset)
    }
}
