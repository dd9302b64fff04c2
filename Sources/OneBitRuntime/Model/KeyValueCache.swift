/// Keys and values of one sequence, for all layers. It grows with the sequence.
final class KeyValueCache {
    /// How a key or a value is stored.
    typealias Element = Float

    /// The room of one layer: row p holds the keys (values) of position p, [keyValueHeads · headSize].
    struct Layer {
        fileprivate(set) var keys: Buffer<Element>
        fileprivate(set) var values: Buffer<Element>
    }

    private(set) var layers: [Layer]
    /// Elements of a row.
    let width: Int
    /// Positions that there is room for now.
    private(set) var capacity = 0

    init(layerCount: Int, width: Int) {
        self.width = width
        layers = (0..<layerCount).map { _ in Layer(keys: Buffer(count: 0), values: Buffer(count: 0)) }
    }

    /// Makes room for `positions` in all, of which the first `used` are kept; never more than twice as much as needed.
    func reserve(_ positions: Int, used: Int, maximum: Int) {
        guard positions > capacity else { return }
        capacity = min(maximum, max(positions, 2 * capacity, 64))
        for index in layers.indices {
            layers[index].keys = grown(layers[index].keys, used: used)
            layers[index].values = grown(layers[index].values, used: used)
        }
    }

    private func grown(_ old: Buffer<Element>, used: Int) -> Buffer<Element> {
        let new = Buffer<Element>(count: capacity * width)
        new.pointer.update(from: old.pointer, count: used * width)
        return new
    }
}
