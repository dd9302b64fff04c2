/// Keys and values of the tokens fed so far, for one batch of sequences of equal length.
final class KeyValueCache {
    /// Tokens per sequence.
    private(set) var length = 0
    /// Tokens per sequence that there is room for.
    let capacity: Int
    private var keys: [Tensor]
    private var values: [Tensor]

    /// - Parameter shape: key/value heads and head size of each of `layers` layers.
    init(layers: Int, batch: Int, heads: Int, headSize: Int, capacity: Int) throws {
        self.capacity = capacity
        let shape = [batch, heads, capacity, headSize]
        keys = try (0..<layers).map { _ in try Tensor.zeros(shape) }
        values = try (0..<layers).map { _ in try Tensor.zeros(shape) }
    }

    /// Stores the keys and values [batch, heads, n, headSize] of `layer` behind the ones there and returns all of them.
    func append(layer: Int, keys newKeys: Tensor, values newValues: Tensor) throws -> (keys: Tensor, values: Tensor) {
        let count = newKeys.shape[2]
        try keys[layer].narrowed(2, from: length, length: count).copy(from: newKeys)
        try values[layer].narrowed(2, from: length, length: count).copy(from: newValues)
        return (
            try keys[layer].narrowed(2, from: 0, length: length + count),
            try values[layer].narrowed(2, from: 0, length: length + count)
        )
    }

    /// Counts `count` tokens as stored, after every layer has appended theirs.
    func advance(by count: Int) { length += count }

    /// Forgets the tokens from `length` on.
    func rewind(to length: Int) { self.length = min(self.length, max(0, length)) }

    /// Keeps only the sequences that `rows` names.
    func select(rows: [Int]) throws {
        let indices = try Tensor(integers: rows, shape: [rows.count])
        keys = try keys.map { try $0.selecting(indices, along: 0) }
        values = try values.map { try $0.selecting(indices, along: 0) }
    }
}
