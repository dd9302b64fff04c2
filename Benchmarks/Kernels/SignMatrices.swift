import CSignKernels

/// Random sign matrices of one shape, one after the other in memory and together larger than any cache, in the order
/// that one version's kernels want.
final class SignMatrices {
    let kernels: sign_kernels_table
    let rows: Int
    let columns: Int
    let matrixBytes: Int
    let count: Int
    private let bytes: UnsafeMutablePointer<UInt8>

    /// Bytes of packed signs at least: several times a large third-level cache.
    private static let leastBytes = 192 << 20

    init(_ kernels: sign_kernels_table, rows: Int, columns: Int) {
        self.kernels = kernels
        self.rows = rows
        self.columns = columns
        let layout = kernels.layout.pointee
        matrixBytes = layout.byte_count(rows, columns, (rows + layout.tile_rows - 1) / layout.tile_rows)
        count = (Self.leastBytes + matrixBytes - 1) / matrixBytes
        // Random bits are random in any order; the kernels may fetch a little beyond the end.
        bytes = alignedBytes(count * matrixBytes + 4096)
        var word: UInt64 = 1
        for offset in stride(from: 0, to: count * matrixBytes, by: 8) {
            word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            UnsafeMutableRawPointer(bytes + offset).storeBytes(of: word ^ word >> 32, as: UInt64.self)
        }
    }

    deinit { bytes.deallocate() }

    var byteCount: Int { count * matrixBytes }

    /// Reads all bytes and does nothing with them.
    func read() { _ = kernels.read(bytes, byteCount & ~255) }

    /// One token, or several, times every matrix, on this thread.
    func multiply(_ inputs: QuantizedTokens, matrices: Int) {
        let layout = kernels.layout.pointee
        let tiles = (rows + layout.tile_rows - 1) / layout.tile_rows
        let product = inputs.isWide ? kernels.sign_product_16bit : kernels.sign_product_10bit
        for index in 0..<matrices {
            let matrix = sign_kernels_packed_matrix(bytes: bytes + index * matrixBytes, rows: rows, columns: columns)
            product(
                matrix, 0, tiles, inputs.tables, inputs.tableStride, inputs.quantized, inputs.count, inputs.outputs,
                rows)
        }
    }
}

/// Random inputs of some tokens and their look-up tables.
final class QuantizedTokens {
    let isWide: Bool
    let count: Int
    let tables: UnsafeMutablePointer<UInt8>
    let tableStride: Int
    let quantized: [sign_kernels_quantized]
    let outputs: UnsafeMutablePointer<Int32>

    init(_ kernels: sign_kernels_table, count: Int, rows: Int, columns: Int, isWide: Bool) {
        self.isWide = isWide
        self.count = count
        let padding = Int(SIGN_KERNELS_INPUT_PADDING)
        let padded = (columns + padding - 1) / padding * padding
        let quads =
            (columns + 4 * kernels.layout.pointee.group_columns - 1) / (4 * kernels.layout.pointee.group_columns)
        let bytes = isWide ? kernels.lut_bytes_16bit(columns) : kernels.lut_bytes_10bit(columns)
        tableStride = (bytes + 63) / 64 * 64
        tables = alignedBytes(tableStride * count)
        outputs = .allocate(capacity: rows * count)
        let ones = [Float](repeating: 1, count: columns)
        var results: [sign_kernels_quantized] = []
        for token in 0..<count {
            let x = (0..<columns).map { Float(($0 * 7919 + token * 104_729) % 2001 - 1000) }
            var q = [Int16](repeating: 0, count: padded)
            let quantize = isWide ? kernels.quantize_16bit : kernels.quantize_10bit
            var result = quantize(x, ones, columns, &q, padded)
            let build = isWide ? kernels.build_luts_16bit : kernels.build_luts_10bit
            build(q, &result, 0, quads, tables + token * tableStride)
            results.append(result)
        }
        quantized = results
    }

    deinit {
        tables.deallocate()
        outputs.deallocate()
    }
}

private func alignedBytes(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    UnsafeMutableRawPointer.allocate(byteCount: count, alignment: Int(SIGN_KERNELS_ALIGNMENT))
        .bindMemory(to: UInt8.self, capacity: count)
}
