import CSignKernels
import Testing

/// Every version of the sign products against Σ ±x written out in Swift.
@Suite struct SignProductTests {
    /// Around the widths of groups (4, 6), of their quadruples (16, 24), of bytes, and of runs of the 16-bit sums (6144, 4096).
    static let widths = [1, 5, 6, 7, 8, 9, 15, 16, 17, 23, 24, 25, 48, 64, 65, 172, 257, 1000, 4095, 4097, 6145, 8200]

    /// Rows and tokens: whole tiles (64, 256 rows) and last ones of every kind; one token, a full block of them and more.
    static func shapes(columns: Int) -> [(Int, Int)] {
        columns < 300
            ? [(1, 1), (2, 8), (63, 1), (64, 2), (65, 1), (129, 3), (193, 1), (256, 2), (330, 9)] : [(5, 1), (70, 3)]
    }

    @Test("16-bit sign products are exact over random shapes and tails", arguments: widths)
    func int16(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        for (rows, tokens) in Self.shapes(columns: columns) {
            let problem = Problem<Int16>(rows: rows, columns: columns, tokens: tokens, using: &generator) {
                Int16.random(in: -32767...32767, using: &$0)
            }
            problem.check()
        }
    }

    @Test("8-bit sign products are exact over random shapes and tails", arguments: widths)
    func int8(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        for (rows, tokens) in Self.shapes(columns: columns) {
            let problem = Problem<Int8>(rows: rows, columns: columns, tokens: tokens, using: &generator) {
                Int8.random(in: -127...127, using: &$0)
            }
            problem.check()
        }
    }

    @Test("Sums at the edge of 32 bits are exact: the widest matrix with the largest inputs", arguments: [false, true])
    func extremes(negative: Bool) {
        let columns = Int(SIGN_KERNELS_MAXIMUM_COLUMNS)
        var generator = TestGenerator(state: 1)
        var wide = Problem<Int16>(rows: 2, columns: columns, tokens: 5, using: &generator) { _ in 32767 }
        wide.fillBits(negative ? 0xFF : 0)
        wide.check()
        var narrow = Problem<Int8>(rows: 2, columns: columns, tokens: 5, using: &generator) { _ in negative ? -127 : 127
        }
        narrow.fillBits(negative ? 0xFF : 0)
        narrow.check()
    }
}

/// An integer type that inputs are quantized to, with its kernels.
private protocol QuantizedInput: FixedWidthInteger {
    static func tableBytes(_ kernels: sign_kernels_table, columns: Int) -> Int
    static func buildTables(
        _ kernels: sign_kernels_table, _ q: UnsafePointer<Self>, _ quads: Range<Int>,
        _ tables: UnsafeMutablePointer<UInt8>)
    static func product(
        _ kernels: sign_kernels_table
    ) -> (
        sign_kernels_packed_matrix, Int, Int, UnsafePointer<UInt8>, Int, UnsafePointer<sign_kernels_quantized>, Int,
        UnsafeMutablePointer<Int32>, Int
    ) -> Void
}

extension Int8: QuantizedInput {
    static func tableBytes(_ kernels: sign_kernels_table, columns: Int) -> Int { kernels.lut_bytes_int8(columns) }
    static func buildTables(
        _ kernels: sign_kernels_table, _ q: UnsafePointer<Int8>, _ quads: Range<Int>,
        _ tables: UnsafeMutablePointer<UInt8>
    ) { kernels.build_luts_int8(q, quads.lowerBound, quads.upperBound, tables) }
    static func product(
        _ kernels: sign_kernels_table
    ) -> (
        sign_kernels_packed_matrix, Int, Int, UnsafePointer<UInt8>, Int, UnsafePointer<sign_kernels_quantized>, Int,
        UnsafeMutablePointer<Int32>, Int
    ) -> Void { kernels.sign_product_int8 }
}

extension Int16: QuantizedInput {
    static func tableBytes(_ kernels: sign_kernels_table, columns: Int) -> Int { kernels.lut_bytes_int16(columns) }
    static func buildTables(
        _ kernels: sign_kernels_table, _ q: UnsafePointer<Int16>, _ quads: Range<Int>,
        _ tables: UnsafeMutablePointer<UInt8>
    ) { kernels.build_luts_int16(q, quads.lowerBound, quads.upperBound, tables) }
    static func product(
        _ kernels: sign_kernels_table
    ) -> (
        sign_kernels_packed_matrix, Int, Int, UnsafePointer<UInt8>, Int, UnsafePointer<sign_kernels_quantized>, Int,
        UnsafeMutablePointer<Int32>, Int
    ) -> Void { kernels.sign_product_int16 }
}

/// A random sign matrix and inputs, and the right answer.
private struct Problem<Integer: QuantizedInput> {
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

    /// All tiles at once, and one by one as threads would take them; nothing else may be written.
    func check() {
        let right = (0..<tokens).map { token in (0..<rows).map { expected(row: $0, token: token) } }
        let quantized = (0..<tokens).map { token in
            let row = inputs[token * stride..<(token + 1) * stride]
            return sign_kernels_quantized(scale: 1, magnitude: row.reduce(0) { $0 + Int32($1.magnitude) })
        }
        for kernels in availableKernels() {
            let layout = kernels.pointee.layout.pointee
            let tiles = (rows + layout.tile_rows - 1) / layout.tile_rows
            let packed = AlignedBytes(layout.byte_count(rows, columns, tiles))
            bits.withUnsafeBufferPointer { bits in
                let matrix = sign_kernels_matrix(
                    bits: bits.baseAddress!, bytes_per_row: bytesPerRow, rows: rows, columns: columns)
                for tile in (0..<tiles).reversed() { layout.pack(matrix, tile, tile + 1, packed.pointer) }
            }
            let tableBytes = (Integer.tableBytes(kernels.pointee, columns: columns) + 63) / 64 * 64
            let tables = AlignedBytes(tableBytes * tokens)
            let quads = (columns + 4 * layout.group_columns - 1) / (4 * layout.group_columns)
            inputs.withUnsafeBufferPointer { inputs in
                for token in 0..<tokens {
                    for part in [quads / 2..<quads, 0..<quads / 2] {
                        Integer.buildTables(
                            kernels.pointee, inputs.baseAddress! + token * stride, part,
                            tables.pointer + token * tableBytes)
                    }
                }
            }
            let matrix = sign_kernels_packed_matrix(bytes: packed.pointer, rows: rows, columns: columns)
            for step in Set([tiles, 1]) {
                for first in Swift.stride(from: 0, to: tiles, by: step) {
                    let begin = first * layout.tile_rows
                    let end = min((first + step) * layout.tile_rows, rows)
                    let width = end - begin + 1
                    var outputs = [Int32](repeating: -1, count: tokens * width)
                    Integer.product(kernels.pointee)(
                        matrix, first, min(first + step, tiles), tables.pointer, tableBytes, quantized, tokens,
                        &outputs, width)
                    #expect(
                        outputs == right.flatMap { $0[begin..<end] + [-1] },
                        "\(name(kernels)), \(rows)×\(columns), \(tokens) tokens, tiles from \(first) by \(step)"
                    )
                }
            }
        }
    }
}

/// Bytes at the alignment that kernels want.
private final class AlignedBytes {
    let pointer: UnsafeMutablePointer<UInt8>

    init(_ count: Int) {
        let raw = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: Int(SIGN_KERNELS_ALIGNMENT))
        pointer = raw.bindMemory(to: UInt8.self, capacity: max(count, 1))
    }

    deinit { pointer.deallocate() }
}
