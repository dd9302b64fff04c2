import CLibTorch

/// Storage that is written in place: keys and values, sums of gradients, what an optimizer moves.
///
/// Not `Sendable`: one thread at a time writes and reads. A view from ``tensor`` or ``slices(along:from:count:)`` shows
/// later writes to what is in it, so whoever owns the buffer uses views only until these elements are written again.
public final class TensorBuffer {
    /// A view of all of it.
    public let tensor: Tensor
    public let shape: [Int]

    /// Zeros of `shape`.
    public init(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) throws {
        self.shape = shape
        tensor = try .compute("a buffer of shape \(shape)") { _ in
            lt_storage(dtype.bridged, shape.dimensions, shape.rank, device.bridged)
        }
    }

    /// A copy of a tensor, on its device unless another is given.
    public convenience init(copying source: Tensor, dtype: DType = .float32, device: Device? = nil) throws {
        try self.init(source.shape, dtype: dtype, device: device ?? source.device)
        try write(source)
    }

    /// Makes all elements zero.
    public func clear() throws { try Tensor.withHandles([tensor]) { try check(lt_clear($0[0]), "clearing a buffer") } }

    /// Writes `source`, of this shape, over everything.
    public func write(_ source: Tensor) throws { try write(source, along: 0, from: 0) }

    /// Adds `source`, of this shape and any float type.
    public func add(_ source: Tensor) throws {
        try Tensor.withHandles([tensor, source]) { try check(lt_accumulate($0[0], $0[1]), "a sum in a buffer") }
    }

    /// Adds `source` to the slices along `dimension` from `start` on.
    public func add(_ source: Tensor, along dimension: Int, from start: Int) throws {
        let place = try slices(along: dimension, from: start, count: source.shape[dimension])
        try Tensor.withHandles([place, source]) { try check(lt_accumulate($0[0], $0[1]), "a sum in a buffer") }
    }

    /// Writes `source` over the slices along `dimension` from `start` on, outside the backward pass.
    public func write(_ source: Tensor, along dimension: Int, from start: Int) throws {
        try Tensor.withHandles([tensor, source]) {
            try check(lt_write($0[0], Int32(dimension), Int64(start), $0[1]), "a write into a buffer")
        }
    }

    /// Writes `source` over a view of this buffer.
    public func write(_ source: Tensor, over view: Tensor) throws {
        try Tensor.withHandles([view, source]) {
            try check(lt_write($0[0], 0, 0, $0[1]), "a write into a buffer")
        }
    }

    /// Writes `source` [rows, heads, size] over the rows [slot, :, position, :] of storage [slots, heads, positions, size].
    public func write(_ source: Tensor, slots: Tensor, positions: Tensor) throws {
        try Tensor.withHandles([tensor, slots, positions, source]) {
            try check(lt_write_rows($0[0], $0[1], $0[2], $0[3]), "rows written into a buffer")
        }
    }

    /// A view of `count` slices from `start` along `dimension`.
    public func slices(along dimension: Int, from start: Int, count: Int) throws -> Tensor {
        try tensor.narrowed(dimension, from: start, length: count)
    }
}

/// How the gradient passes through the sign function, whose own derivative is zero almost everywhere.
public enum SignGradient: String, Sendable, Codable, CaseIterable {
    /// `dw = dy (1.001 − tanh²w)`, as the paper's released code has it.
    case tanh
    /// `dw = dy` where `|w| < 1`, else 0: the hard straight-through estimator.
    case hard

    var bridged: lt_sign_gradient {
        switch self {
        case .tanh: LT_SIGN_TANH
        case .hard: LT_SIGN_HARD
        }
    }
}
