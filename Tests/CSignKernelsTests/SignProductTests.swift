import CSignKernels
import Testing

/// Every version of the sign products against Σ ±x written out in Swift.
@Suite struct SignProductTests {
    /// Around the widths of groups (4, 6), of their quadruples (16, 24), of bytes, and of runs of the 16-bit sums (6144, 4096).
    static let widths = [1, 5, 6, 7, 8, 9, 15, 16, 17, 23, 24, 25, 48, 64, 65, 172, 257, 1000, 4095, 4097, 6145, 8200]

    /// Rows and tokens: whole strips (64 rows) and tiles (256) and last ones of every kind; one token, a full block of them and
    /// more.
    static func shapes(columns: Int) -> [(Int, Int)] {
        columns < 300
            ? [(1, 1), (2, 8), (63, 1), (64, 2), (65, 1), (129, 3), (193, 1), (256, 2), (330, 9)] : [(5, 1), (70, 3)]
    }

    @Test("Sign products are exact over random shapes and tails", arguments: widths, Precision.allCases)
    private func exact(columns: Int, precision: Precision) {
        var generator = TestGenerator(state: UInt64(columns))
        for (rows, tokens) in Self.shapes(columns: columns) {
            let problem = Problem(rows: rows, columns: columns, tokens: tokens, precision, using: &generator) {
                Int16.random(in: -precision.largest...precision.largest, using: &$0)
            }
            problem.check()
        }
    }

    @Test(
        "Up to four outliers of a token are exact, wherever they are: in one group, in the last one, next to each other"
    )
    func outliers() {
        var generator = TestGenerator(state: 5)
        for columns in [4, 5, 24, 25, 100, 1030, 4097] {
            let places = [
                [], [0], [columns - 1], [0, 1, 2, 3], [columns - 1, 0], [columns / 2, columns / 2 + 1, columns - 1],
            ]
            for outliers in places.map(Set.init) {
                var problem = Problem(rows: 300, columns: columns, tokens: 9, .bits10, using: &generator) {
                    Int16.random(in: -682...682, using: &$0)
                }
                for token in 0..<9 {
                    for column in outliers {
                        let magnitude = Int16.random(in: 683...32767, using: &generator)
                        problem.set(
                            token: token, column: column, to: Bool.random(using: &generator) ? magnitude : -magnitude)
                    }
                }
                problem.check()
            }
        }
    }

    @Test("Sums at the edge of 32 bits are exact: the widest matrix with the largest inputs", arguments: [false, true])
    func extremes(negative: Bool) {
        let columns = Int(SIGN_KERNELS_MAXIMUM_COLUMNS)
        var generator = TestGenerator(state: 1)
        for precision in Precision.allCases {
            let input = negative ? -precision.largest : precision.largest
            var problem = Problem(rows: 2, columns: columns, tokens: 5, precision, using: &generator) { _ in input }
            problem.fillBits(negative ? 0xFF : 0)
            problem.check()
        }
    }
}

/// Of the inputs, with its kernels.
private enum Precision: CaseIterable {
    case bits10
    case bits16

    /// Largest magnitude of an input that is no outlier.
    var largest: Int16 { self == .bits10 ? Int16(SIGN_KERNELS_10BIT_LARGEST) : 32767 }

    func tableBytes(_ kernels: sign_kernels_table, columns: Int) -> Int {
        self == .bits10 ? kernels.lut_bytes_10bit(columns) : kernels.lut_bytes_16bit(columns)
    }

    func buildTables(
        _ kernels: sign_kernels_table, _ q: UnsafePointer<Int16>, _ input: sign_kernels_quantized, _ quads: Range<Int>,
        _ tables: UnsafeMutablePointer<UInt8>
    ) {
        let build = self == .bits10 ? kernels.build_luts_10bit : kernels.build_luts_16bit
        withUnsafePointer(to: input) { build(q, $0, quads.lowerBound, quads.upperBound, tables) }
    }

    func product(
        _ kernels: sign_kernels_table
    ) -> (
        sign_kernels_packed_matrix, Int, Int, UnsafePointer<UInt8>, Int, UnsafePointer<sign_kernels_quantized>, Int,
        UnsafeMutablePointer<Int32>, Int
    ) -> Void { self == .bits10 ? kernels.sign_product_10bit : kernels.sign_product_16bit }
}

/// A random sign matrix and inputs, and the right answer.
private struct Problem {
    let precision: Precision
    let rows: Int
    let columns: Int
    let tokens: Int
    let bytesPerRow: Int
    let stride: Int
    private var bits: [UInt8]
    private var inputs: [Int16]

    init(
        rows: Int,
        columns: Int,
        tokens: Int,
        _ precision: Precision,
        using generator: inout TestGenerator,
        input: (inout TestGenerator) -> Int16
    ) {
        self.precision = precision
        self.rows = rows
        self.columns = columns
        self.tokens = tokens
        bytesPerRow = (columns + 7) / 8
        let padding = Int(SIGN_KERNELS_INPUT_PADDING)
        stride = (columns + padding - 1) / padding * padding
        // The bits behind the last column are random too: they must not count.
        bits = (0..<rows * bytesPerRow).map { _ in UInt8.random(in: 0...255, using: &generator) }
        var inputs = [Int16](repeating: 0, count: tokens * stride)
        for token in 0..<tokens {
            for column in 0..<columns { inputs[token * stride + column] = input(&generator) }
        }
        self.inputs = inputs
    }

    mutating func fillBits(_ byte: UInt8) {
        bits = bits.map { _ in byte }
    }

    mutating func set(token: Int, column: Int, to input: Int16) { inputs[token * stride + column] = input }

    /// What quantizing says beside the integers.
    private func quantized(token: Int) -> sign_kernels_quantized {
        let row = inputs[token * stride..<(token + 1) * stride]
        let none = UInt32.max
        var result = sign_kernels_quantized(
            scale: 1, magnitude: row.reduce(0) { $0 + Int32($1.magnitude) }, outliers: (none, none, none, none))
        guard precision == .bits10 else { return result }
        let outliers = row.indices.filter { row[$0].magnitude > SIGN_KERNELS_10BIT_LARGEST }
        withUnsafeMutableBytes(of: &result.outliers) { bytes in
            for (slot, index) in outliers.enumerated() {
                bytes.storeBytes(of: UInt32(index - row.startIndex), toByteOffset: 4 * slot, as: UInt32.self)
            }
        }
        return result
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
        let quantized = (0..<tokens).map { self.quantized(token: $0) }
        for kernels in availableKernels() {
            let layout = kernels.pointee.layout.pointee
            let tiles = (rows + layout.tile_rows - 1) / layout.tile_rows
            let packed = AlignedBytes(layout.byte_count(rows, columns, tiles))
            bits.withUnsafeBufferPointer { bits in
                let matrix = sign_kernels_matrix(
                    bits: bits.baseAddress!, bytes_per_row: bytesPerRow, rows: rows, columns: columns)
                for tile in (0..<tiles).reversed() { layout.pack(matrix, tile, tile + 1, packed.pointer) }
            }
            let tableBytes = (precision.tableBytes(kernels.pointee, columns: columns) + 63) / 64 * 64
            let tables = AlignedBytes(tableBytes * tokens)
            let quads = (columns + 4 * layout.group_columns - 1) / (4 * layout.group_columns)
            inputs.withUnsafeBufferPointer { inputs in
                for token in 0..<tokens {
                    for part in [quads / 2..<quads, 0..<quads / 2] {
                        precision.buildTables(
                            kernels.pointee, inputs.baseAddress! + token * stride, quantized[token], part,
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
                    precision.product(kernels.pointee)(
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
