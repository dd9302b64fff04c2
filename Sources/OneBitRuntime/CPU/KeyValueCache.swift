import CSignKernels
import ModelDescription

/// Keys and values of one sequence, for all layers, in 16-bit floats.
///
/// The positions of a head lie one after the other, so attention reads memory in a straight line: [layer, keys or values,
/// head, position, rowSize]. The whole capacity is reserved at once; what is not used yet takes no memory.
final class KeyValueCache {
    let capacity: Int
    /// Positions that are filled.
    var length = 0
    /// Where the rows are, for the layers: a value of pointers alone, which costs no reference counting in their loops.
    let rows: Rows
    private let buffer: Buffer<UInt16>

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(configuration: ModelConfiguration, capacity: Int) throws {
        self.capacity = capacity
        buffer = try Buffer(count: Self.byteCount(configuration, capacity: capacity) / MemoryLayout<UInt16>.size)
        rows = Rows(
            base: buffer.pointer, headCount: configuration.keyValueHeadCount, capacity: capacity,
            rowSize: Self.rowSize(headSize: configuration.headSize))
    }

    /// Bytes of a cache of that many positions.
    static func byteCount(_ configuration: ModelConfiguration, capacity: Int) -> Int {
        let rowBytes = rowSize(headSize: configuration.headSize) * MemoryLayout<UInt16>.size
        return configuration.layerCount * 2 * configuration.keyValueHeadCount * rowBytes * capacity
    }

    private static func rowSize(headSize: Int) -> Int {
        let padding = Int(SIGN_KERNELS_HEAD_PADDING)
        return (headSize + padding - 1) / padding * padding
    }

    /// The rows of a cache, valid as long as the cache lives.
    struct Rows: BitwiseCopyable {
        fileprivate let base: UnsafeMutablePointer<UInt16>
        fileprivate let headCount: Int
        fileprivate let capacity: Int
        /// Elements from one position to the next: the head size and, after it, zeros up to what kernels read.
        let rowSize: Int

        /// Row p is the key of position p.
        func keys(layer: Int, head: Int) -> UnsafeMutablePointer<UInt16> {
            base + (layer * 2 * headCount + head) * capacity * rowSize
        }

        /// Row p is the value of position p.
        func values(layer: Int, head: Int) -> UnsafeMutablePointer<UInt16> {
            base + ((layer * 2 + 1) * headCount + head) * capacity * rowSize
        }
    }
}
