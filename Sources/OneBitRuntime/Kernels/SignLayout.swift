import CSignKernels

/// An order of a sign matrix's bits that an instruction set's kernels want.
// Unchecked because of the pointer: it leads to constants and functions.
struct SignLayout: @unchecked Sendable {
    private let layout: UnsafePointer<sign_kernels_layout>

    init(_ layout: UnsafePointer<sign_kernels_layout>) {
        self.layout = layout
    }

    /// Names the order for ever; cache files go by it.
    var name: String { String(cString: layout.pointee.name) }
    /// Rows of a tile, the unit that kernels work on.
    var tileRows: Int { layout.pointee.tile_rows }

    func tileCount(rows: Int) -> Int { (rows + tileRows - 1) / tileRows }

    /// Quadruples of column groups.
    func quadCount(columns: Int) -> Int {
        let columnsPerQuad = 4 * layout.pointee.group_columns
        return (columns + columnsPerQuad - 1) / columnsPerQuad
    }

    /// Bytes of a whole matrix.
    func byteCount(rows: Int, columns: Int) -> Int {
        layout.pointee.byte_count(rows, columns, tileCount(rows: rows))
    }

    /// Writes some tiles of a matrix to their places in `packed`, the whole matrix's first byte.
    func pack(_ matrix: sign_kernels_matrix, tiles: Range<Int>, to packed: UnsafeMutablePointer<UInt8>) {
        layout.pointee.pack(matrix, tiles.lowerBound, tiles.upperBound, packed)
    }
}
