import Foundation
import ModelDescription
import Synchronization
import Torch

/// The positions of a pass's tokens, and what each of them attends to.
struct TokenPositions {
    /// Rows of the rotary tables; none where positions are learned.
    let rotations: [RotaryTable.Rows]
    /// Learned positions [T, C] or [B, T, C], to be added to the embedding; nil where they are rotary.
    let learned: Tensor?
    let attention: Scope

    enum Scope {
        /// The tokens of the pass.
        case sequences(AttentionMasks)
        /// Cached keys and values too.
        case cached(CachedScope)
    }
}

/// What the rows of a pass over cached sequences attend to.
struct CachedScope {
    let pool: KeyValuePool
    /// Sequence by sequence.
    let slices: [(slice: DecodingSlice, masks: AttentionMasks)]
    /// Rows that attend in one operation; nil without two of them.
    let singles: SingleTokenRows?
    /// Where the rows of the pass stand among those of the singles and then of the slices; nil where they are in order.
    let order: Tensor?
}

/// Rows of a pass that are the next tokens of one cached sequence.
struct DecodingSlice {
    let slot: Int
    /// Of the first of them in the sequence.
    let position: Int
    let rows: Range<Int>
    /// Tokens of the sequence once all that it was given at the same time is read.
    let sequenceLength: Int
}

/// Which positions a token sees, as libtorch takes it.
enum AttentionMask: Sendable {
    /// Everything up to itself, without a matrix.
    case causal
    /// Added to the scores: 0 where a token sees another and −∞ where it does not; [rows, columns], or [B, 1, rows,
    /// columns] where each sequence has its own.
    case matrix(Tensor)
}

/// The masks of a pass: of the layers that see everything, and of those with a sliding window.
struct AttentionMasks: Sendable {
    let full: AttentionMask
    let windowed: AttentionMask
}

/// What is computed from positions alone: made once, and kept on the model's device.
final class PositionTables: Sendable {
    /// By the number that layers name theirs by.
    let rotations: [RotaryTable]
    /// Row of the first position in a table of learned ones.
    let learnedOffset: Int
    let device: Device
    let dtype: DType
    private let slidingWindow: Int?
    private let masks = Mutex<[MaskKey: Tensor]>([:])

    private struct MaskKey: Hashable {
        let length: Int
        let start: Int
        let window: Int
    }

    /// Masks that are kept; the lengths of training and evaluation are few.
    private static let keptMasks = 8

    init(_ configuration: ModelConfiguration, dtype: DType, device: Device) {
        self.dtype = dtype
        self.device = device
        slidingWindow = configuration.structure.slidingWindow
        rotations = configuration.structure.rotations.map {
            RotaryTable($0, headSize: configuration.headSize, dtype: dtype, device: device)
        }
        learnedOffset = if case .learned(let offset) = configuration.structure.positions { offset } else { 0 }
    }

    /// Of `length` tokens that follow `start` others.
    func masks(length: Int, after start: Int) throws -> AttentionMasks {
        AttentionMasks(
            full: try mask(length: length, after: start, window: nil),
            windowed: try slidingWindow.map { try mask(length: length, after: start, window: $0) } ?? .causal)
    }

    /// Of single tokens at the positions `last` of their sequences, over the first `count` positions.
    func masks(last: Tensor, count: Int) throws -> AttentionMasks {
        func mask(_ window: Int) throws -> AttentionMask {
            .matrix(try .windowMask(last: last, count: count, window: window, dtype: dtype))
        }
        return AttentionMasks(full: try mask(count), windowed: try slidingWindow.map(mask) ?? .causal)
    }

    /// Each token sees itself and what precedes it, `window` positions at most.
    private func mask(length: Int, after start: Int, window: Int?) throws -> AttentionMask {
        let window = window ?? start + length
        // A single cached token is handled without a mask (see `Attention`).
        if length == 1 || (start == 0 && window >= length) { return .causal }
        let key = MaskKey(length: length, start: start, window: window)
        if let known = masks.withLock({ $0[key] }) { return .matrix(known) }
        let made = try Tensor.causalMask(length: length, after: start, window: window, dtype: dtype, device: device)
        masks.withLock {
            if $0.count >= Self.keptMasks { $0.removeAll() }
            $0[key] = made
        }
        return .matrix(made)
    }
}

/// Cosines and sines of the rotary position embedding (Su et al. 2021), times its attention factor: angle[p, i] = p · θ_i.
///
/// Computed in single precision like the reference implementation, whose rounding of `position · frequency` shows at
/// large positions, and as far as a sequence has asked for: a context of 131,072 positions would fill 64 MB.
final class RotaryTable: Sendable {
    /// Of some positions: [positions, rotated pairs of a head] each.
    struct Rows: Sendable {
        let cosines: Tensor
        let sines: Tensor

        static func concatenated(_ rows: [Rows]) throws -> Rows {
            Rows(
                cosines: try .concatenated(rows.map(\.cosines), along: 0),
                sines: try .concatenated(rows.map(\.sines), along: 0))
        }
    }

    /// Pairs of channels of a head that are rotated.
    let pairCount: Int
    private let positions: RotaryPositions
    private let headSize: Int
    private let dtype: DType
    private let device: Device
    private let kept = Mutex<(count: Int, sequenceLength: Int, rows: Rows)?>(nil)

    init(_ positions: RotaryPositions, headSize: Int, dtype: DType = .float32, device: Device = .cpu) {
        self.positions = positions
        self.headSize = headSize
        pairCount = positions.rotatedChannels(headSize: headSize) / 2
        self.dtype = dtype
        self.device = device
    }

    /// The rows of positions `start ..< start + length`.
    ///
    /// - Parameter sequenceLength: Tokens of the sequence, these included; matters where rotations depend on it.
    func rows(from start: Int, length: Int, sequenceLength: Int) throws -> Rows {
        let rows = try rows(upTo: start + length, sequenceLength: sequenceLength)
        return Rows(
            cosines: try rows.cosines.narrowed(0, from: start, length: length),
            sines: try rows.sines.narrowed(0, from: start, length: length))
    }

    /// The rows of any positions [batch, length] as [batch, length, pairs].
    func rows(of positions: [Int], batch: Int) throws -> Rows {
        let count = (positions.max() ?? 0) + 1
        let rows = try rows(upTo: count, sequenceLength: count)
        let indices = try Tensor.integers(positions, shape: [positions.count], device: device)
        let shape = [batch, positions.count / batch, pairCount]
        return Rows(
            cosines: try rows.cosines.selecting(indices, along: 0).reshaped(shape),
            sines: try rows.sines.selecting(indices, along: 0).reshaped(shape))
    }

    /// `count` rows or more: those kept from before where they serve.
    private func rows(upTo count: Int, sequenceLength: Int) throws -> Rows {
        try kept.withLock { kept in
            if let kept, kept.count >= count,
                !positions.dependsOnLength || kept.sequenceLength == sequenceLength
            {
                return kept.rows
            }
            let larger = positions.dependsOnLength ? max(count, sequenceLength) : max(count, 2 * (kept?.count ?? 0))
            let rows = try table(larger, sequenceLength: sequenceLength)
            kept = (larger, sequenceLength, rows)
            return rows
        }
    }

    private func table(_ count: Int, sequenceLength: Int) throws -> Rows {
        let frequencies = positions.frequencies(headSize: headSize, sequenceLength: sequenceLength)
        var cosines: [Float] = []
        var sines: [Float] = []
        cosines.reserveCapacity(count * frequencies.count)
        sines.reserveCapacity(count * frequencies.count)
        for position in 0..<count {
            for frequency in frequencies {
                let angle = Float(position) * frequency
                cosines.append(cos(angle) * positions.attentionFactor)
                sines.append(sin(angle) * positions.attentionFactor)
            }
        }
        let shape = [count, frequencies.count]
        return Rows(
            cosines: try .floats(cosines, shape: shape, dtype: dtype, device: device),
            sines: try .floats(sines, shape: shape, dtype: dtype, device: device))
    }
}
