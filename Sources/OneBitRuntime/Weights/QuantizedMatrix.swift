import CSignKernels

/// A matrix in 8 bits, one scale per row, made from floats at load: half the bytes of a float16 `lm_head`.
///
///     W[r][c] ≈ q[r][c] · s_r,   s_r = max_c |W[r][c]| / 127
// Unchecked because of the buffers: nothing writes after `init`.
struct QuantizedMatrix: @unchecked Sendable {
    let rows: Int
    let columns: Int
    private let values: Buffer<Int8>
    private let scales: Buffer<Float>

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(_ matrix: FloatMatrix, kernels: Kernels) throws {
        rows = matrix.rows
        columns = matrix.columns
        values = try Buffer(count: rows * columns)
        scales = try Buffer(count: rows)
        let row = try Buffer<Float>(count: columns)
        let ones = try FloatVector([Float](repeating: 1, count: columns))
        for index in 0..<rows {
            matrix.copyRow(index, to: row.pointer, kernels: kernels)
            let target = values.pointer + index * columns
            scales.pointer[index] =
                kernels.pointee.quantize_int8(row.pointer, ones.pointer, columns, target, columns).scale
        }
    }

    var byteCount: Int { rows * (columns + MemoryLayout<Float>.size) }

    /// As `FloatMatrix.product`.
    func product(
        rows range: Range<Int>, _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>,
        kernels: Kernels
    ) {
        kernels.pointee.float_product(
            values.pointer, SIGN_KERNELS_INT8, columns, range.lowerBound, range.upperBound, x, columns, tokens, y, rows)
        for token in 0..<tokens {
            let part = y + token * rows + range.lowerBound
            kernels.pointee.scale(part, scales.pointer + range.lowerBound, range.count, part)
        }
    }
}
