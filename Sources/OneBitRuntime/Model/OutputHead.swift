/// `lm_head`, as it is stored or in 8 bits.
enum OutputHead: Sendable {
    case stored(FloatMatrix)
    case quantized(QuantizedMatrix)

    /// Rows that one part of the loop over them takes.
    private static let partRows = 64

    private var rows: Int {
        switch self {
        case .stored(let matrix): matrix.rows
        case .quantized(let matrix): matrix.rows
        }
    }

    /// Bytes that a token reads.
    var byteCount: Int {
        switch self {
        case .stored(let matrix): matrix.byteCount
        case .quantized(let matrix): matrix.byteCount
        }
    }

    /// y = x Whᵀ: x [tokens, columns], y [tokens, rows].
    func callAsFunction(
        _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>, kernels: Kernels,
        member: inout Team.Member
    ) {
        member.forEach(rows, grain: Self.partRows) { range in
            switch self {
            case .stored(let matrix): matrix.product(rows: range, x, tokens: tokens, into: y, kernels: kernels)
            case .quantized(let matrix): matrix.product(rows: range, x, tokens: tokens, into: y, kernels: kernels)
            }
        }
    }
}
