import CSignKernels
import ModelDescription
import TensorFiles

/// A sign matrix in the order that the kernels want.
// Unchecked because of the pointer: nothing writes to it any more, and `owner` keeps it valid.
struct PackedSigns: @unchecked Sendable {
    let rows: Int
    let columns: Int
    private let bytes: UnsafePointer<UInt8>
    /// The mapped file or the buffer that holds the bytes.
    private let owner: AnyObject

    init(rows: Int, columns: Int, bytes: UnsafePointer<UInt8>, owner: AnyObject) {
        self.rows = rows
        self.columns = columns
        self.bytes = bytes
        self.owner = owner
    }

    var matrix: sign_kernels_packed_matrix { sign_kernels_packed_matrix(bytes: bytes, rows: rows, columns: columns) }
}

/// Floats that never change: a norm's weights, value vectors.
// Unchecked because of the pointer: nothing writes after `init`, and the buffer lives as long as this.
final class FloatVector: @unchecked Sendable {
    let pointer: UnsafePointer<Float>
    let count: Int
    private let buffer: Buffer<Float>

    init(_ values: [Float]) throws {
        buffer = try Buffer(count: values.count)
        buffer.pointer.update(from: values, count: values.count)
        count = values.count
        pointer = UnsafePointer(buffer.pointer)
    }

    /// - Throws: `TensorFileError` when a value is NaN or infinite.
    convenience init(_ name: String, of checkpoint: Checkpoint) throws {
        try self.init(checkpoint.floats(of: name))
    }

    func isEqual(to other: FloatVector) -> Bool {
        self === other
            || UnsafeBufferPointer(start: pointer, count: count)
                .elementsEqual(UnsafeBufferPointer(start: other.pointer, count: other.count))
    }
}

/// A matrix of floats, where its file is mapped: the embeddings, projections and `lm_head`.
struct FloatMatrix: Sendable {
    let rows: Int
    let columns: Int
    private let tensor: MappedTensor
    private let type: sign_kernels_float_type

    /// - Parameter matrix: a tensor [rows, columns] that the checkpoint has checked to be one of floats.
    init(_ matrix: TensorShape, of checkpoint: Checkpoint) throws {
        rows = matrix.shape[0]
        columns = matrix.shape[1]
        tensor = try checkpoint.mapped(matrix.name)
        type = sign_kernels_float_type(tensor.description.elementType)
    }

    /// Bytes that a product reads.
    var byteCount: Int { tensor.bytes.count }

    /// One row as floats: the embedding of a token.
    func copyRow(_ row: Int, to y: UnsafeMutablePointer<Float>, kernels: Kernels) {
        let start = tensor.bytes.baseAddress! + row * columns * tensor.description.elementType.byteWidth
        kernels.pointee.widen(start, type, columns, y)
    }

    /// y = x Wᵀ for some rows of W: x [tokens, columns], y [tokens, rows].
    func product(
        rows range: Range<Int>, _ x: UnsafePointer<Float>, tokens: Int, into y: UnsafeMutablePointer<Float>,
        kernels: Kernels
    ) {
        kernels.pointee.float_product(
            tensor.bytes.baseAddress!, type, columns, range.lowerBound, range.upperBound, x, columns, tokens, y, rows)
    }
}

/// A matrix in 8 bits, one scale per row, where its file is mapped or made from floats at load: half the bytes of a float16
/// `lm_head`.
///
///     W[r][c] = q[r][c] · s_r;   made from floats, s_r = max_c |W[r][c]| / 127
// Unchecked because of the pointer: nothing writes to it after `init`, and `owner` keeps it valid.
struct Int8Matrix: @unchecked Sendable {
    /// Rows that one part of the loop over them takes.
    private static let partRows = 256

    let rows: Int
    let columns: Int
    private let values: UnsafePointer<Int8>
    private let scales: UnsafePointer<Float>
    private let owner: (values: Any, scales: Any)

    /// - Parameter matrix: a tensor [rows, columns] that the checkpoint holds in 8 bits.
    /// - Throws: `TensorFileError` when a scale is NaN or infinite.
    init(_ matrix: TensorShape, of checkpoint: Checkpoint) throws {
        let tensor = try checkpoint.mapped(matrix.name)
        let scales = try FloatVector(matrix.rowScale.name, of: checkpoint)
        (rows, columns) = (matrix.shape[0], matrix.shape[1])
        values = tensor.bytes.baseAddress!.assumingMemoryBound(to: Int8.self)
        self.scales = scales.pointer
        owner = (tensor, scales)
    }

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``, `CancellationError`
    init(rounding matrix: FloatMatrix, kernels: Kernels, pool: ThreadPool) throws {
        rows = matrix.rows
        let columns = matrix.columns
        self.columns = columns
        let values = try Buffer<Int8>(count: rows * columns)
        let scales = try Buffer<Float>(count: rows)
        let parts = (rows + Self.partRows - 1) / Self.partRows
        let floats = try Buffer<Float>(count: parts * columns)
        try pool.parallelFor(rows, grain: Self.partRows) { range in
            for row in range {
                let source = floats.pointer + row / Self.partRows * columns
                matrix.copyRow(row, to: source, kernels: kernels)
                scales.pointer[row] = kernels.pointee.round_int8(
                    source, columns, values.pointer + row * columns, columns)
            }
        }
        self.values = UnsafePointer(values.pointer)
        self.scales = UnsafePointer(scales.pointer)
        owner = (values, scales)
    }

    /// Bytes that a product reads.
    var byteCount: Int { rows * (columns + MemoryLayout<Float>.size) }

    /// One row as floats: the embedding of a token.
    func copyRow(_ row: Int, to y: UnsafeMutablePointer<Float>, kernels: Kernels) {
        kernels.pointee.widen(values + row * columns, SIGN_KERNELS_INT8, columns, y)
        let scale = scales[row]
        for index in 0..<columns { y[index] *= scale }
    }

    /// Rounds an input of the product: x [columns] to q [columns]. Returns its scale.
    func round(_ x: UnsafePointer<Float>, into q: UnsafeMutablePointer<Int16>, kernels: Kernels) -> Float {
        kernels.pointee.round_int16(x, columns, q, columns)
    }

    /// y = x Wᵀ for some rows of W: x [tokens, columns] rounded, y [tokens, rows].
    func product(
        rows range: Range<Int>, _ x: UnsafePointer<Int16>, _ inputScales: UnsafePointer<Float>, tokens: Int,
        into y: UnsafeMutablePointer<Float>, kernels: Kernels
    ) {
        kernels.pointee.int8_product(
            values, scales, columns, range.lowerBound, range.upperBound, x, columns, inputScales, tokens, y, rows)
    }
}
