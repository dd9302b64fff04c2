import SignDecomposition
import Torch

/// A long stream of token ids cut into segments of equal length, served in an order that only the seed decides.
///
/// The order is a function of the position, not of a generator that runs along: a resumed run needs nothing but the
/// number of segments served to go on with the very same data.
struct TokenSegments: Sendable {
    /// Tokens per segment.
    let length: Int
    /// Whole segments in the stream; what is left at its end is dropped.
    let count: Int
    private let tokens: [Int32]
    private let seed: UInt64

    /// - Throws: ``TrainingError/corpusTooShort(tokens:segment:)`` where not one segment fits.
    init(tokens: [Int32], length: Int, seed: UInt64) throws {
        guard tokens.count >= length else {
            throw TrainingError.corpusTooShort(tokens: tokens.count, segment: length)
        }
        self.tokens = tokens
        self.length = length
        self.seed = seed
        count = tokens.count / length
    }

    /// Segments `start ..< start + batch` of the endless sequence of shuffled epochs, [batch, length].
    func batch(from start: Int, count batch: Int, device: Device = .cpu) throws -> Tensor {
        var ids: [Int] = []
        ids.reserveCapacity(batch * length)
        var epoch = -1
        var order: [Int] = []
        for position in start..<(start + batch) {
            if position / count != epoch {
                epoch = position / count
                order = permutation(ofEpoch: epoch)
            }
            let offset = order[position % count] * length
            for id in tokens[offset..<(offset + length)] { ids.append(Int(id)) }
        }
        return try .integers(ids, shape: [batch, length], device: device)
    }

    private func permutation(ofEpoch epoch: Int) -> [Int] {
        var generator = SplitMix64(seed: seed &+ UInt64(epoch) &* 0x9E37_79B9_7F4A_7C15)
        return (0..<count).shuffled(using: &generator)
    }
}
