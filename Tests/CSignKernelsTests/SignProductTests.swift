import CSignKernels
import Testing

/// Every version of the sign products against Σ ±x written out in Swift.
@Suite struct SignProductTests {
    /// Around the widths of vectors (16, 32), of tiles (2 and 4 rows, 4 tokens), and of the 16-bit sums (128 · 32).
    static let widths = [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 172, 257, 1000, 4095, 4096, 4097, 4129, 8200]

    /// Rows and tokens: whole tiles, rests of tiles, more rows than a block. Few for wide matrices, which take long.
    static func shapes(columns: Int) -> [(Int, Int)] {
        columns < 300 ? [(1, 1), (2, 4), (3, 5), (7, 3), (9, 9), (67, 2)] : [(5, 1), (3, 5)]
    }

    @Test("16-bit sign products are exact over random shapes and tails", arguments: widths)
    func int16(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        for (rows, tokens) in Self.shapes(columns: columns) {
            let problem = Problem<Int16>(rows: rows, columns: columns, tokens: tokens, using: &generator) {
                Int16.random(in: -32767...32767, using: &$0)
            }
            problem.check { $0.pointee.sign_product_int16 }
        }
    }

    @Test("8-bit sign products are exact over random shapes and tails", arguments: widths)
    func int8(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        for (rows, tokens) in Self.shapes(columns: columns) {
            let problem = Problem<Int8>(rows: rows, columns: columns, tokens: tokens, using: &generator) {
                Int8.random(in: -127...127, using: &$0)
            }
            problem.check { $0.pointee.sign_product_int8 }
        }
    }

    @Test("Sums at the edge of 32 bits are exact: the widest matrix with the largest inputs", arguments: [false, true])
    func extremes(negative: Bool) {
        let columns = Int(SIGN_KERNELS_MAXIMUM_COLUMNS)
        var generator = TestGenerator(state: 1)
        var wide = Problem<Int16>(rows: 2, columns: columns, tokens: 5, using: &generator) { _ in 32767 }
        wide.fillBits(negative ? 0xFF : 0)
        wide.check { $0.pointee.sign_product_int16 }
        var narrow = Problem<Int8>(rows: 2, columns: columns, tokens: 5, using: &generator) { _ in negative ? -127 : 127
        }
        narrow.fillBits(negative ? 0xFF : 0)
        narrow.check { $0.pointee.sign_product_int8 }
    }
}

/// A random sign matrix and inputs, and the right answer.
private struct Problem<Integer: FixedWidthInteger> {
    typealias Kernel = (
        sign_kernels_matrix, Int, Int, UnsafePointer<Integer>, Int, Int, UnsafeMutablePointer<Int32>, Int
    ) -> Void

    let rows: Int
    let columns: Int
    let tokens: Int
    let bytesPerRow: Int
    let stride: Int
    private var bits: [UInt8]
    private let inputs: [Integer]

    init(
        rows: Int,
        columns: Int,
        tokens: Int,
        using generator: inout TestGenerator,
        input: (inout TestGenerator) -> Integer
    ) {
        self.rows = rows
        self.columns = columns
        self.tokens = tokens
        bytesPerRow = (columns + 7) / 8
        let padding = Int(SIGN_KERNELS_INPUT_PADDING)
        stride = (columns + padding - 1) / padding * padding
        // The bits behind the last column are random too: they must not count.
        bits = (0..<rows * bytesPerRow).map { _ in UInt8.random(in: 0...255, using: &generator) }
        var inputs = [Integer](repeating: 0, count: tokens * stride)
        for token in 0..<tokens {
            for column in 0..<columns { inputs[token * stride + column] = input(&generator) }
        }
        self.inputs = inputs
    }

    mutating func fillBits(_ byte: UInt8) {
        bits = bits.map { _ in byte }
    }

    private func expected(row: Int, token: Int) -> Int32 {
        var sum: Int32 = 0
        var column = 0
        while column < columns {
            let isNegative = bits[row * bytesPerRow + column / 8] >> (column % 8) & 1 == 1
            let input = Int32(inputs[token * stride + column])
            sum += isNegative ? -input : input
            column += 1
        }
        return sum
    }

    /// All rows at once, and in two ranges as threads would take them; nothing else may be written.
    func check(_ kernel: (UnsafePointer<sign_kernels_table>) -> Kernel) {
        var right: [Int32] = []
        for token in 0..<tokens {
            for row in 0..<rows { right.append(expected(row: row, token: token)) }
            right.append(-1)
        }
        for kernels in availableKernels() {
            for split in Set([rows, rows / 2, rows - 1]) {
                var outputs = [Int32](repeating: -1, count: tokens * (rows + 1))
                bits.withUnsafeBufferPointer { bits in
                    let matrix = sign_kernels_matrix(
                        bits: bits.baseAddress!,
                        bytes_per_row: bytesPerRow,
                        columns: columns
                    )
                    kernel(kernels)(matrix, 0, split, inputs, stride, tokens, &outputs, rows + 1)
                    kernel(kernels)(matrix, split, rows, inputs, stride, tokens, &outputs, rows + 1)
                }
                #expect(
                    outputs == right,
                    "\(name(kernels)), \(rows)×\(columns), \(tokens) tokens, split at row \(split)"
                )
            }
        }
    }
}
