// libtorch's tensors in Swift: tensors, devices, element types, random generators, autograd. No model code. May import
// CLibTorch and nothing else of this project.

import CLibTorch
import Foundation

/// Type of a tensor's elements.
public enum DType: String, Sendable, CaseIterable {
    case float32, float16, bfloat16, int64, uint8

    /// Bytes of an element.
    public var byteWidth: Int {
        switch self {
        case .float32: 4
        case .float16, .bfloat16: 2
        case .int64: 8
        case .uint8: 1
        }
    }

    var bridged: lt_type {
        switch self {
        case .float32: LT_FLOAT32
        case .float16: LT_FLOAT16
        case .bfloat16: LT_BFLOAT16
        case .int64: LT_INT64
        case .uint8: LT_UINT8
        }
    }
}

/// A libtorch tensor: an immutable value.
///
/// Operations make new tensors; gradients and the optimizer's results are returned, not stored in place. What has to be
/// written piece by piece is a ``TensorBuffer``.
public final class Tensor: @unchecked Sendable {
    // Proof of Sendable: the handle never changes, no function that takes it writes to the tensor (those that write take
    // the handle of a TensorBuffer), and libtorch's reference counts are atomic.
    private let handle: OpaquePointer

    private init(adopting handle: OpaquePointer) { self.handle = handle }

    deinit { lt_release(handle) }

    // The one rule for handles: a C function sees them inside `withHandles`, which keeps their tensors alive, and a handle
    // that it returns is adopted by `compute`.

    /// Calls `body` with the handles of tensors, nil for those that are nil.
    static func withHandles<Result>(
        _ tensors: [Tensor?], _ body: ([OpaquePointer?]) throws -> Result
    ) rethrows -> Result {
        try withExtendedLifetime(tensors) { try body(tensors.map { $0?.handle }) }
    }

    /// The tensor that `body` makes of the handles of others.
    ///
    /// - Throws: ``TorchError`` naming the operation, or `CancellationError` where it failed because of a cancellation.
    static func compute(
        _ operation: String, _ tensors: Tensor?..., body: ([OpaquePointer?]) -> OpaquePointer?
    ) throws -> Tensor {
        guard let result = withHandles(tensors, body) else { throw TorchError.last(in: operation) }
        return Tensor(adopting: result)
    }

    /// Takes over handles that a C function stored; nil stays nil.
    static func adopt(_ handles: [OpaquePointer?]) -> [Tensor?] { handles.map { $0.map(Tensor.init(adopting:)) } }

    // MARK: Creation

    /// A tensor of `shape` with the elements of `floats` in row-major order.
    public static func floats(
        _ floats: [Float], shape: [Int], dtype: DType = .float32, device: Device = .cpu
    ) throws -> Tensor {
        precondition(floats.count == shape.reduce(1, *), "\(floats.count) elements for shape \(shape)")
        let tensor = try compute("a tensor from floats") { _ in
            floats.withUnsafeBytes {
                lt_from_data($0.baseAddress, LT_FLOAT32, shape.dimensions, shape.rank, device.bridged)
            }
        }
        return dtype == .float32 ? tensor : try tensor.converted(to: dtype, device: device)
    }

    /// A tensor of `shape` with the elements that `bytes` holds in row-major order, at any alignment.
    public static func elements(
        _ bytes: UnsafeRawBufferPointer, shape: [Int], dtype: DType, device: Device = .cpu
    ) throws -> Tensor {
        precondition(
            bytes.count == shape.reduce(1, *) * dtype.byteWidth, "\(bytes.count) bytes for \(dtype) \(shape)")
        return try compute("a tensor from bytes") { _ in
            lt_from_data(bytes.baseAddress, dtype.bridged, shape.dimensions, shape.rank, device.bridged)
        }
    }

    /// An int64 tensor of `shape`, for token ids and row numbers.
    public static func integers(_ integers: [Int], shape: [Int], device: Device = .cpu) throws -> Tensor {
        precondition(integers.count == shape.reduce(1, *), "\(integers.count) elements for shape \(shape)")
        return try compute("a tensor from integers") { _ in
            integers.withUnsafeBytes {
                lt_from_data($0.baseAddress, LT_INT64, shape.dimensions, shape.rank, device.bridged)
            }
        }
    }

    /// A tensor whose elements are all `value`.
    public static func full(
        _ value: Double, shape: [Int], dtype: DType = .float32, device: Device = .cpu
    ) throws -> Tensor {
        try compute("a constant tensor") { _ in
            lt_full(value, dtype.bridged, shape.dimensions, shape.rank, device.bridged)
        }
    }

    public static func zeros(_ shape: [Int], dtype: DType = .float32, device: Device = .cpu) throws -> Tensor {
        try full(0, shape: shape, dtype: dtype, device: device)
    }

    /// Standard normal numbers, the same on every device.
    public static func randn(
        _ shape: [Int], dtype: DType = .float32, device: Device = .cpu, using generator: Generator
    ) throws -> Tensor {
        try compute("normal random numbers") { _ in
            generator.withHandle { lt_randn(dtype.bridged, shape.dimensions, shape.rank, device.bridged, $0) }
        }
    }

    /// The mask [length, start + length] that is added to attention scores: 0 where the token at position start + i sees
    /// the one at position j, which is start + i − window < j ≤ start + i; −∞ elsewhere.
    public static func causalMask(
        length: Int, after start: Int, window: Int, dtype: DType = .float32, device: Device = .cpu
    ) throws -> Tensor {
        try compute("a causal mask") { _ in
            lt_causal_mask(dtype.bridged, Int64(length), Int64(start), Int64(window), device.bridged)
        }
    }

    /// The mask [rows, 1, 1, count] that is added to the attention scores of one token a row, which stands at position
    /// `last` of its sequence: 0 where last − window < j ≤ last, −∞ elsewhere.
    public static func windowMask(last: Tensor, count: Int, window: Int, dtype: DType = .float32) throws -> Tensor {
        try compute("an attention mask", last) {
            lt_window_mask(dtype.bridged, $0[0], Int64(count), Int64(window))
        }
    }

    /// The same elements in another type or on another device; this tensor where it has both already.
    public func converted(to dtype: DType, device: Device) throws -> Tensor {
        try .compute("a conversion to \(dtype) on \(device)", self) { lt_to($0[0], dtype.bridged, device.bridged) }
    }

    /// The same elements in another type, on the same device; this tensor where it has the type already.
    public func converted(to dtype: DType) throws -> Tensor {
        self.dtype == dtype ? self : try converted(to: dtype, device: device)
    }

    /// Whether no element is NaN or infinite.
    public func isFinite() throws -> Bool {
        var result = false
        try Self.withHandles([self]) { try check(lt_is_finite($0[0], &result), "a test for finite numbers") }
        return result
    }

    // MARK: Reading

    public var dtype: DType {
        Self.withHandles([self]) { handles in DType.allCases.first { $0.bridged == lt_type_of(handles[0]) } ?? .float32
        }
    }

    public var device: Device {
        Self.withHandles([self]) { Device(lt_device_of($0[0])) }
    }

    /// Length of each dimension.
    public var shape: [Int] {
        Self.withHandles([self]) { handles in (0..<lt_rank(handles[0])).map { Int(lt_size(handles[0], $0)) } }
    }

    /// Product of the dimensions.
    public var elementCount: Int { Self.withHandles([self]) { Int(lt_element_count($0[0])) } }

    /// All elements in row-major order.
    public func floats() throws -> [Float] {
        let count = elementCount
        return try [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            try Self.withHandles([self]) {
                try check(lt_read_floats($0[0], buffer.baseAddress, count), "the elements of a tensor")
            }
            initialized = count
        }
    }

    /// All elements of an int64 or uint8 tensor in row-major order.
    public func integers() throws -> [Int] {
        let count = elementCount
        return try [Int](unsafeUninitializedCapacity: count) { buffer, initialized in
            try buffer.withMemoryRebound(to: Int64.self) { buffer in
                try Self.withHandles([self]) {
                    try check(lt_read_integers($0[0], buffer.baseAddress, count), "the elements of a tensor")
                }
            }
            initialized = count
        }
    }

    /// Calls `body` with the bytes of all elements in row-major order.
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) throws -> Result {
        let tensor = try Self.compute("contiguous elements", self) { lt_contiguous($0[0]) }
        return try Self.withHandles([tensor]) { handles in
            try body(
                UnsafeRawBufferPointer(
                    start: lt_bytes(handles[0]), count: tensor.elementCount * tensor.dtype.byteWidth))
        }
    }

    /// The one element of a scalar.
    public func item() throws -> Double {
        guard let element = try floats().first, elementCount == 1 else {
            throw TorchError(operation: "the value of a scalar", message: "the shape is \(shape)")
        }
        return Double(element)
    }
}

/// A source of random numbers; the same seed gives the same numbers. Not `Sendable`: drawing changes it.
public final class Generator {
    private let handle: OpaquePointer

    public init(seed: UInt64) throws {
        guard let handle = lt_generator_new(seed) else { throw TorchError.last(in: "a random generator") }
        self.handle = handle
    }

    deinit { lt_generator_release(handle) }

    func withHandle<Result>(_ body: (OpaquePointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(self) { try body(handle) }
    }
}

/// What libtorch refused, in its own words.
public struct TorchError: LocalizedError, Sendable, Hashable {
    /// What was computed.
    public let operation: String
    /// libtorch's message.
    public let message: String
    /// Whether a device had no memory left.
    public var isOutOfMemory = false

    /// The calling thread's last failure: `CancellationError` where the thread was asked to stop.
    static func last(in operation: String) -> any Error {
        if lt_is_stopped() { return CancellationError() }
        return TorchError(
            operation: operation, message: String(cString: lt_last_error()), isOutOfMemory: lt_last_error_is_memory())
    }

    public var errorDescription: String? { "libtorch could not compute \(operation): \(message)" }

    public var recoverySuggestion: String? {
        isOutOfMemory ? "Compute fewer sequences or tokens at a time, or keep less on the device." : nil
    }
}

/// Throws where a C function did not return 0.
func check(_ status: Int32, _ operation: String) throws {
    if status != 0 { throw TorchError.last(in: operation) }
}

extension [Int] {
    var dimensions: [Int64] { map(Int64.init) }
    var rank: Int32 { Int32(count) }
}
