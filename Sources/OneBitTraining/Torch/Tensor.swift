import CLibTorch

/// A libtorch tensor.
///
/// A value in the sense of PyTorch: operations make new tensors, and only ``copy(from:)`` and the optimiser write to one.
public final class Tensor: @unchecked Sendable {
    // Proof of Sendable: the handle never changes, libtorch's reference counts are atomic, and tensors that several
    // threads see (a loaded model's weights) are only read; the training loop writes from one thread.
    let handle: OpaquePointer

    /// Takes over `handle`, which a call of the C door returned; nil means that the call failed.
    init(_ handle: OpaquePointer?, _ operation: String) throws {
        guard let handle else { throw TorchError.last(in: operation) }
        self.handle = handle
    }

    deinit { lt_release(handle) }

    // MARK: Creation

    /// A float32 tensor of `shape` with the elements of `floats` in row-major order.
    public convenience init(_ floats: [Float], shape: [Int]) throws {
        precondition(floats.count == shape.reduce(1, *), "\(floats.count) elements for shape \(shape)")
        try self.init(
            floats.withUnsafeBytes { lt_from_data($0.baseAddress, LT_FLOAT32, shape.dimensions, Int32(shape.count)) },
            "tensor from floats"
        )
    }

    /// An int64 tensor of `shape`, for token ids and row numbers.
    public convenience init(integers: [Int], shape: [Int]) throws {
        precondition(integers.count == shape.reduce(1, *), "\(integers.count) elements for shape \(shape)")
        try self.init(
            integers.withUnsafeBytes { lt_from_data($0.baseAddress, LT_INT64, shape.dimensions, Int32(shape.count)) },
            "tensor from integers"
        )
    }

    /// A float32 tensor of zeros.
    public static func zeros(_ shape: [Int]) throws -> Tensor {
        try Tensor(lt_zeros(LT_FLOAT32, shape.dimensions, Int32(shape.count)), "zeros")
    }

    /// Standard normal numbers.
    public static func randn(_ shape: [Int], using generator: TorchGenerator) throws -> Tensor {
        try Tensor(lt_randn(shape.dimensions, Int32(shape.count), generator.handle), "randn")
    }

    // MARK: Reading

    /// Length of each dimension.
    public var shape: [Int] { (0..<lt_rank(handle)).map { Int(lt_size(handle, $0)) } }

    /// Product of the dimensions.
    public var elementCount: Int { Int(lt_element_count(handle)) }

    /// All elements in row-major order.
    public func floats() throws -> [Float] {
        let count = elementCount
        return try [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            try check(lt_read_floats(handle, buffer.baseAddress, count), "reading floats")
            initialized = count
        }
    }

    /// All elements of an integer tensor in row-major order.
    public func integers() throws -> [Int] {
        let count = elementCount
        return try [Int](unsafeUninitializedCapacity: count) { buffer, initialized in
            try buffer.withMemoryRebound(to: Int64.self) {
                try check(lt_read_integers(handle, $0.baseAddress, count), "reading integers")
            }
            initialized = count
        }
    }

    /// The one element of a scalar.
    public func item() throws -> Double {
        var value = 0.0
        try check(lt_item(handle, &value), "reading a scalar")
        return value
    }

    /// Overwrites the elements with those of `source`, outside the backward pass.
    public func copy(from source: Tensor) throws {
        try check(lt_copy(handle, source.handle), "copy")
    }
}

/// A source of random numbers; the same seed gives the same numbers.
public final class TorchGenerator {
    let handle: OpaquePointer

    public init(seed: UInt64) throws {
        guard let handle = lt_generator_new(seed) else { throw TorchError.last(in: "random generator") }
        self.handle = handle
    }

    deinit { lt_generator_release(handle) }
}

extension [Int] {
    /// The shape as the C door wants it.
    var dimensions: [Int64] { map(Int64.init) }
}
