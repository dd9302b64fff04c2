/// A matrix of ±1, one bit per entry.
///
/// Row by row; within a row, bit j of byte k is column 8k + j, least significant bit first, and 1 means −1: the order
/// of the paper's release. Rows end on a byte; the bits beyond the last column are zero.
public struct SignMatrix: Sendable, Hashable {
    /// Output features of the layer.
    public let rows: Int
    /// Input features of the layer.
    public let columns: Int
    /// The bits, `rows × bytesPerRow` bytes.
    public let bytes: [UInt8]

    /// Bytes of one row, ⌈columns / 8⌉.
    public var bytesPerRow: Int { Self.bytesPerRow(columns: columns) }

    static func bytesPerRow(columns: Int) -> Int { columns / 8 + (columns % 8 == 0 ? 0 : 1) }

    /// The signs of a weight matrix, row-major [rows, columns]; the sign of zero, and of −0, is +1.
    ///
    /// - Throws: ``DecompositionError/wrongCount(expected:found:)``, ``DecompositionError/notANumber(row:column:)``.
    /// - Complexity: O(rows × columns).
    public init(signsOf weights: [Float], rows: Int, columns: Int) throws {
        guard let count = Self.product(rows, columns), weights.count == count else {
            throw DecompositionError.wrongCount(expected: Self.product(rows, columns) ?? -1, found: weights.count)
        }
        if let index = weights.firstIndex(where: \.isNaN) {
            throw DecompositionError.notANumber(row: index / columns, column: index % columns)
        }
        let bytesPerRow = Self.bytesPerRow(columns: columns)
        self.rows = rows
        self.columns = columns
        bytes = [UInt8](unsafeUninitializedCapacity: rows * bytesPerRow) { bytes, initializedCount in
            weights.withUnsafeBufferPointer { weights in
                guard let weights = weights.baseAddress else { return }
                for row in 0..<rows {
                    let source = weights + row * columns
                    let target = bytes.baseAddress! + row * bytesPerRow
                    for byte in 0..<columns / 8 { target[byte] = Self.signByte(source + byte * 8) }
                    guard columns % 8 != 0 else { continue }
                    var bits: UInt8 = 0
                    for bit in 0..<columns % 8 where source[columns / 8 * 8 + bit] < 0 { bits |= 1 << UInt8(bit) }
                    target[bytesPerRow - 1] = bits
                }
            }
            initializedCount = rows * bytesPerRow
        }
    }

    /// Eight signs as a byte.
    @inline(__always)
    private static func signByte(_ weights: UnsafePointer<Float>) -> UInt8 {
        let values = UnsafeRawPointer(weights).loadUnaligned(as: SIMD8<Float>.self)
        let powers = SIMD8<UInt32>(1, 2, 4, 8, 16, 32, 64, 128)
        let negative = SIMD8<UInt32>.zero.replacing(with: powers, where: values .< 0)
        return UInt8(truncatingIfNeeded: negative.wrappedSum())
    }

    /// Signs that are packed already, as a checkpoint stores them.
    ///
    /// - Throws: ``DecompositionError/wrongCount(expected:found:)``, and
    ///   ``DecompositionError/paddingNotZero(row:)`` when a bit beyond the last column is set.
    public init(packed bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws {
        let bytesPerRow = Self.bytesPerRow(columns: max(0, columns))
        guard columns >= 0, let count = Self.product(rows, bytesPerRow), bytes.count == count else {
            throw DecompositionError.wrongCount(
                expected: Self.product(rows, bytesPerRow) ?? -1,
                found: bytes.count
            )
        }
        self.rows = rows
        self.columns = columns
        self.bytes = Array(bytes)
        if columns % 8 != 0 {
            let padding = UInt8.max << UInt8(columns % 8)
            for row in 0..<rows where bytes[(row + 1) * bytesPerRow - 1] & padding != 0 {
                throw DecompositionError.paddingNotZero(row: row)
            }
        }
    }

    /// +1 or −1. O(1).
    public subscript(row: Int, column: Int) -> Int {
        precondition(row >= 0 && row < rows && column >= 0 && column < columns, "index out of range")
        return bytes[row * bytesPerRow + column / 8] >> UInt8(column % 8) & 1 == 0 ? 1 : -1
    }

    /// The matrix as floats, row-major, each ±`magnitude`.
    public func floats(magnitude: Float = 1) -> [Float] {
        [Float](unsafeUninitializedCapacity: rows * columns) { output, initializedCount in
            bytes.withUnsafeBufferPointer { bytes in
                var index = 0
                for row in 0..<rows {
                    let start = row * bytesPerRow
                    for column in 0..<columns {
                        let isNegative = bytes[start + column / 8] >> UInt8(column % 8) & 1 == 1
                        output[index] = isNegative ? -magnitude : magnitude
                        index += 1
                    }
                }
            }
            initializedCount = rows * columns
        }
    }

    private static func product(_ a: Int, _ b: Int) -> Int? {
        guard a >= 0, b >= 0 else { return nil }
        let (product, overflow) = a.multipliedReportingOverflow(by: b)
        return overflow ? nil : product
    }
}
