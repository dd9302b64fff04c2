import CSignKernels
import ModelDescription

/// Keys and values of one sequence, for all layers, in 16-bit floats.
///
/// The positions of a head lie one after the other, so attention reads memory in a straight line: [layer, keys or values,
/// head, position, rowSize]. Room for the whole context is asked for at once; what is not used yet takes no memory.
final class KeyValueCache {
    let capacity: Int
    /// Positions that are filled.
    var position = 0
    private let keyValueHeadCount: Int
    /// Elements from one position to the next: the head size and, after it, zeros up to what kernels read.
    let rowSize: Int
    private let buffer: Buffer<UInt16>

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(configuration: ModelConfiguration, capacity: Int) throws {
        self.capacity = capacity
        keyValueHeadCount = configuration.keyValueHeadCount
        rowSize = Self.rowSize(headSize: configuration.headSize)
        buffer = try Buffer(count: configuration.layerCount * 2 * keyValueHeadCount * rowSize * capacity)
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

    /// Row p is the key of position p.
    func keys(layer: Int, head: Int) -> UnsafeMutablePointer<UInt16> {
        buffer.pointer + (layer * 2 * keyValueHeadCount + head) * capacity * rowSize
    }

    /// Row p is the value of position p.
    func values(layer: Int, head: Int) -> UnsafeMutablePointer<UInt16> {
        buffer.pointer + ((layer * 2 + 1) * keyValueHeadCount + head) * capacity * rowSize
    }
}
