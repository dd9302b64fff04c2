import CSignKernels
import ModelDescription
import TensorFiles

/// A matrix of floats, where its file is mapped: the embeddings, projections and `lm_head`.
struct FloatMatrix: Sendable {
    let rows: Int
    let columns: Int
    private let tensor: MappedTensor
    private let type: sign_kernels_float_type

    /// - Parameter matrix: a tensor [rows, columns]; the checkpoint has seen to it that it is one of floats.
    init(_ matrix: TensorShape, of checkpoint: Checkpoint) throws {
        rows = matrix.shape[0]
        columns = matrix.shape[1]
        tensor = try checkpoint.mapped(matrix.name)
        switch tensor.description.elementType {
        case .float16: type = SIGN_KERNELS_FLOAT16
        case .bfloat16: type = SIGN_KERNELS_BFLOAT16
        case .float32, .int8, .uint8, .int32, .int64: type = SIGN_KERNELS_FLOAT32
        }
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
