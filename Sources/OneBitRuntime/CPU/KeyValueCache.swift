import CSignKernels
import ModelDescription

/// Keys and values of one sequence, for all layers, in 16-bit floats or in 8 bits.
///
/// The positions of a head lie one after the other, so attention reads memory in a straight line: [layer, keys or values,
/// head, position, rowSize]. The whole capacity is reserved at once; what is not used yet takes no memory.
///
/// A layer with a sliding window keeps the last positions alone, in a ring: position p is row p mod `ringPositions`.
final class KeyValueCache {
    /// Positions behind the window that a ring keeps: how far a sequence can be taken back without reading it again. A pass
    /// must not have more rows, since all of them are stored before the first of them looks back over its window.
    static let rewind = 512

    let capacity: Int
    /// Positions that are filled.
    private(set) var length = 0
    /// Where the rows are, for the layers: a value of pointers alone, which costs no reference counting in their loops.
    let rows: Rows
    /// Positions that were written, the forgotten ones included: what was in their places in the rings is lost.
    private var written = 0
    /// The window and the rows of the layer that looks back furthest beyond its ring; nil where all keep every position.
    private let ring: (window: Int, positions: Int)?
    private let buffer: Buffer<UInt8>
    private let layers: Buffer<Layer>

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(configuration: ModelConfiguration, capacity: Int, precision: CachePrecision) throws {
        self.capacity = capacity
        let form = RowForm(configuration, precision)
        // Zero at first, which kernels count on behind the channels of a row.
        buffer = try Buffer(
            count: Self.byteCount(configuration, capacity: capacity, precision: precision), alignment: 64)
        layers = try Buffer(count: configuration.layerCount)
        var offset = 0
        var ring: (window: Int, positions: Int)?
        for layer in 0..<configuration.layerCount {
            let window = configuration.block(layer).slidingWindow
            let positions = Self.positions(window: window, capacity: capacity)
            layers.pointer[layer] = Layer(base: buffer.pointer + offset, positions: positions)
            offset += positions * form.positionBytes
            if let window, positions < capacity { ring = (window, positions) }
        }
        self.ring = ring
        rows = Rows(
            layers: layers.pointer, layerCount: configuration.layerCount, headCount: configuration.keyValueHeadCount,
            form: form)
    }

    /// Counts tokens that were read.
    func append(_ count: Int) {
        length += count
        written = max(written, length)
    }

    /// Counts rows that a pass is about to write from `length` on.
    func willWrite(_ count: Int) { written = max(written, length + count) }

    /// Forgets the positions from `count` on; all of them where a ring no longer has what comes before.
    func truncate(to count: Int) {
        length = min(length, max(0, count))
        guard let ring else { return }
        // The next token looks back over its window, and its ring has the last positions that were written.
        if max(0, length - ring.window + 1) < written - ring.positions { length = 0 }
        if length == 0 { written = 0 }
    }

    /// Takes over the first `count` positions of another cache of the same model, as far as it has them; nothing where a ring of the
    /// two has another size.
    func copyBeginning(of other: KeyValueCache, count: Int) {
        let count = min(count, other.length, capacity)
        guard length == 0, written == 0, rows.copy(count, from: other.rows, capacity: capacity, other.capacity) else {
            return
        }
        (length, written) = (other.length, other.written)
        truncate(to: count)
        if ring == nil { written = length }
    }

    /// Bytes of a cache of that many positions.
    static func byteCount(_ configuration: ModelConfiguration, capacity: Int, precision: CachePrecision) -> Int {
        let positions = (0..<configuration.layerCount).reduce(0) {
            $0 + Self.positions(window: configuration.block($1).slidingWindow, capacity: capacity)
        }
        return positions * RowForm(configuration, precision).positionBytes
    }

    /// Rows of a layer: whole parts of attention, so that none of them is broken by the end of the ring.
    private static func positions(window: Int?, capacity: Int) -> Int {
        guard let window, window < capacity else { return capacity }
        let part = Int(SIGN_KERNELS_ATTENTION_POSITIONS)
        return min(capacity, (window - 1 + rewind + part - 1) / part * part)
    }

    fileprivate struct Layer: BitwiseCopyable {
        let base: UnsafeMutablePointer<UInt8>
        let positions: Int
    }

    /// What a row of a head is made of.
    struct RowForm: BitwiseCopyable {
        /// Whether each row has a scale; otherwise they are 16-bit floats.
        let isInt8: Bool
        let headSize: Int
        /// Elements from one position to the next: the head size and, after it, zeros up to what kernels read.
        let size: Int
        let byteCount: Int
        /// Bytes of one position of a layer, all heads' keys and values.
        let positionBytes: Int

        init(_ configuration: ModelConfiguration, _ precision: CachePrecision) {
            isInt8 = precision == .bits8
            let padding = Int(isInt8 ? SIGN_KERNELS_INT8_HEAD_PADDING : SIGN_KERNELS_HEAD_PADDING)
            headSize = configuration.headSize
            size = (headSize + padding - 1) / padding * padding
            byteCount = size * (isInt8 ? 1 : MemoryLayout<UInt16>.size)
            let scaleBytes = isInt8 ? MemoryLayout<Float>.size : 0
            positionBytes = 2 * configuration.keyValueHeadCount * (byteCount + scaleBytes)
        }
    }

    /// The rows of a cache, valid as long as the cache lives.
    struct Rows: BitwiseCopyable {
        fileprivate let layers: UnsafePointer<Layer>
        fileprivate let layerCount: Int
        fileprivate let headCount: Int
        fileprivate let form: RowForm

        /// Keys (0) or values (1) of a head from a position on; the next ones follow up to the end of its part of
        /// attention.
        private func head(
            _ layer: Int, _ kind: Int, _ head: Int, _ position: Int
        ) -> (row: UnsafeMutablePointer<UInt8>, scale: UnsafeMutablePointer<Float>?) {
            let positions = layers[layer].positions
            let base = layers[layer].base
            let index = (kind * headCount + head) * positions + position % positions
            let row = base + index * form.byteCount
            guard form.isInt8 else { return (row, nil) }
            let scales = base + 2 * headCount * positions * form.byteCount
            return (row, UnsafeMutableRawPointer(scales).assumingMemoryBound(to: Float.self) + index)
        }

        /// Copies the first `count` positions of all layers; of rings, all that they hold.
        ///
        /// - Returns: false, with nothing copied, where a ring has another size.
        fileprivate func copy(_ count: Int, from other: Rows, capacity: Int, _ otherCapacity: Int) -> Bool {
            func isRing(_ layer: Int) -> Bool {
                layers[layer].positions < capacity || other.layers[layer].positions < otherCapacity
            }
            for layer in 0..<layerCount
            where isRing(layer) && layers[layer].positions != other.layers[layer].positions {
                return false
            }
            for layer in 0..<layerCount {
                let positions = isRing(layer) ? layers[layer].positions : count
                for kind in 0..<2 {
                    for head in 0..<headCount {
                        let (from, to) = (other.head(layer, kind, head, 0), self.head(layer, kind, head, 0))
                        to.row.update(from: from.row, count: positions * form.byteCount)
                        if let source = from.scale { to.scale?.update(from: source, count: positions) }
                    }
                }
            }
            return true
        }

        /// Stores a key and a value of `headSize` channels.
        func store(
            key: UnsafePointer<Float>, value: UnsafePointer<Float>, layer: Int, head: Int, position: Int,
            kernels: Kernels
        ) {
            store(key, at: self.head(layer, 0, head, position), kernels)
            store(value, at: self.head(layer, 1, head, position), kernels)
        }

        private func store(
            _ x: UnsafePointer<Float>,
            at place: (row: UnsafeMutablePointer<UInt8>, scale: UnsafeMutablePointer<Float>?),
            _ kernels: Kernels
        ) {
            let row = UnsafeMutableRawPointer(place.row)
            if let scale = place.scale {
                scale.pointee = kernels.pointee.round_int8(
                    x, form.headSize, row.assumingMemoryBound(to: Int8.self), form.size)
            } else {
                kernels.pointee.narrow_float16(x, form.headSize, row.assumingMemoryBound(to: UInt16.self))
            }
        }

        /// Rows of a head from a position on, up to the end of its part of attention.
        func keys(layer: Int, head: Int, from position: Int) -> sign_kernels_cached_rows {
            cached(self.head(layer, 0, head, position))
        }

        func values(layer: Int, head: Int, from position: Int) -> sign_kernels_cached_rows {
            cached(self.head(layer, 1, head, position))
        }

        private func cached(
            _ place: (row: UnsafeMutablePointer<UInt8>, scale: UnsafeMutablePointer<Float>?)
        ) -> sign_kernels_cached_rows {
            sign_kernels_cached_rows(rows: place.row, scales: place.scale, stride: form.size)
        }
    }
}
