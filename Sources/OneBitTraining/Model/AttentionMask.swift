/// Which positions a token sees, as libtorch wants it: "all before me" without a matrix, or a matrix to be added to the
/// scores, 0 where a token sees another and −∞ where it does not.
enum AttentionMask: Sendable {
    case causal
    /// [rows, columns], or [batch, 1, rows, columns] where each sequence has its own.
    case matrix(Tensor)

    /// Of `length` tokens that follow `start` others; each sees itself and what precedes it, `window` positions at most.
    static func consecutive(length: Int, after start: Int, window: Int?) throws -> AttentionMask {
        let end = start + length
        let window = window ?? end
        if window >= end && (start == 0 || length == 1) { return .causal }
        var rows = MaskRows(rows: length, columns: end)
        for row in 0..<length {
            let position = start + row
            rows.show(max(0, position - window + 1)..<position + 1, to: row)
        }
        return .matrix(try rows.tensor(shape: [length, end]))
    }
}

/// A mask as it is written, everything hidden at first.
struct MaskRows {
    private var values: [Float]
    private let columns: Int

    init(rows: Int, columns: Int) {
        values = [Float](repeating: -.infinity, count: rows * columns)
        self.columns = columns
    }

    /// Lets a row see a range of columns.
    mutating func show(_ range: Range<Int>, to row: Int) {
        values.withUnsafeMutableBufferPointer {
            $0[row * columns + range.lowerBound..<row * columns + range.upperBound].update(repeating: 0)
        }
    }

    func tensor(shape: [Int]) throws -> Tensor { try Tensor(values, shape: shape) }
}
