import CSignKernels

/// A sign matrix in the order that the kernels want.
// Unchecked because of the pointer: nothing writes behind it, and `owner` keeps it valid.
struct PackedSigns: @unchecked Sendable {
    let rows: Int
    let columns: Int
    let bytes: UnsafePointer<UInt8>
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
