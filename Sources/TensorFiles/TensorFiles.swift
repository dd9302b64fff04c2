// TensorFiles: from bytes to tensors and back: safetensors, PyTorch's pickles, GGUF, shards, checkpoints written whole or
// not at all. It knows nothing of models. May import JSON.

import Foundation
import JSON

/// Name, element type and shape of one stored tensor.
///
/// Counts are checked where a description is read from a file or planned for one, so `elementCount` and `byteCount`
/// of a description that this module returns never overflow.
public struct TensorDescription: Sendable, Hashable {
    /// The tensor's key in the checkpoint, e.g. `model.layers.0.self_attn.q_proj.weight`.
    public let name: String
    /// How an element is stored.
    public let elementType: ElementType
    /// Extents, slowest first; empty for a scalar.
    public let shape: [Int]

    /// Describes a tensor. The shape is not validated here.
    public init(name: String, elementType: ElementType, shape: [Int]) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
    }

    /// Number of elements: the product of the shape, 1 for a scalar.
    public var elementCount: Int { shape.reduce(1, *) }
    /// Stored size in bytes.
    public var byteCount: Int { elementCount * elementType.byteWidth }

    /// The stored size, or nil when an extent is negative or a product does not fit in `Int`.
    var checkedByteCount: Int? {
        var bytes = elementType.byteWidth
        for extent in shape {
            guard extent >= 0 else { return nil }
            let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            bytes = product
        }
        return bytes
    }
}

/// Name and shape of a tensor that a configuration calls for, whatever its element type.
public struct TensorShape: Sendable, Hashable {
    /// The tensor's key in the checkpoint.
    public let name: String
    /// Extents, slowest first.
    public let shape: [Int]

    /// A named shape.
    public init(name: String, shape: [Int]) {
        self.name = name
        self.shape = shape
    }

    /// Number of elements.
    public var elementCount: Int { shape.reduce(1, *) }
}

/// The element types that language-model checkpoints use, by the names that safetensors gives them.
public enum ElementType: String, Sendable, Hashable, CaseIterable {
    case float32 = "F32"
    case float16 = "F16"
    case bfloat16 = "BF16"
    case int8 = "I8"
    case uint8 = "U8"
    case int32 = "I32"
    case int64 = "I64"

    /// Bytes per element.
    public var byteWidth: Int {
        switch self {
        case .int8, .uint8: 1
        case .float16, .bfloat16: 2
        case .float32, .int32: 4
        case .int64: 8
        }
    }
}

extension ElementType {
    /// Whether elements are floating-point numbers.
    public var isFloat: Bool {
        switch self {
        case .float32, .float16, .bfloat16: true
        case .int8, .uint8, .int32, .int64: false
        }
    }
}

/// A file of tensors, memory-mapped, its directory validated before any tensor is read.
///
/// The formats differ in how they describe their tensors; once that is read, all are alike.
public protocol TensorFile: Sendable {
    /// What is where.
    var contents: MappedTensors { get }
}

/// The tensors of one mapped file, and the bytes that each takes there.
public struct MappedTensors: Sendable {
    let file: MappedFile
    let descriptions: [String: TensorDescription]
    /// Bytes of each tensor, counted from the start of the file: inside it, and as many as its description asks, or as its
    /// stored form takes.
    let ranges: [String: Range<Int>]
    /// Of the tensors that are stored in another form than they are described, how to make them of it.
    var conversions: [String: TensorConversion] = [:]
    /// What was made of those and is still in use.
    let converted = ConvertedTensors()
}

extension TensorFile {
    /// The tensors by name.
    public var tensors: [String: TensorDescription] { contents.descriptions }

    /// Where the file is, for messages.
    var path: String { contents.file.path }

    /// What tells the file from another one, without reading all of it.
    package var identity: FileIdentity { contents.file.identity }

    /// Calls `body` with a tensor's bytes, little-endian, of any alignment.
    ///
    /// The pointer is valid during the call only.
    ///
    /// - Throws: ``TensorFileError/noSuchTensor(file:tensor:)``, ``TensorFileError/outOfMemory(file:tensor:bytes:)`` where the
    ///   tensor is stored in another form, and what `body` throws.
    public func withUnsafeBytes<R>(of name: String, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        if contents.conversions[name] != nil {
            let tensor = try mapped(name)
            return try withExtendedLifetime(tensor) { try body(tensor.bytes) }
        }
        let range = try range(of: name)
        let file = contents.file
        return try withExtendedLifetime(file) {
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
        }
    }

    /// A tensor's bytes where they are mapped, for as long as the caller keeps them. Where it is stored in another form, they
    /// are made of it, once for all who keep them at a time.
    ///
    /// - Throws: ``TensorFileError/noSuchTensor(file:tensor:)``, ``TensorFileError/outOfMemory(file:tensor:bytes:)``.
    public func mapped(_ name: String) throws -> MappedTensor {
        let description = try description(of: name)
        let range = try range(of: name)
        let file = contents.file
        let stored = UnsafeRawBufferPointer(rebasing: file.bytes[range])
        guard let conversion = contents.conversions[name] else {
            return MappedTensor(description: description, bytes: stored, owner: file)
        }
        let memory = try withExtendedLifetime(file) {
            try contents.converted.memory(of: name, byteCount: description.byteCount) {
                guard let memory = TensorMemory(byteCount: description.byteCount) else {
                    throw TensorFileError.outOfMemory(file: path, tensor: name, bytes: description.byteCount)
                }
                conversion.convert(stored, to: memory.bytes)
                file.release(range)
                return memory
            }
        }
        return MappedTensor(description: description, bytes: UnsafeRawBufferPointer(memory.bytes), owner: memory)
    }

    /// Whether a tensor is in memory of its own once it is in use, and not read where it is mapped.
    package func isConverted(_ name: String) -> Bool { contents.conversions[name] != nil }

    /// A float tensor's values.
    ///
    /// - Throws: ``TensorFileError/noSuchTensor(file:tensor:)``, ``TensorFileError/notFloat(file:tensor:found:)``,
    ///   ``TensorFileError/nonFinite(file:tensor:index:found:)``.
    public func floats(of name: String) throws -> [Float] {
        let elementType = try description(of: name).elementType
        guard elementType.isFloat else {
            throw TensorFileError.notFloat(file: path, tensor: name, found: elementType)
        }
        let values = try withUnsafeBytes(of: name) { FloatConversion.floats(from: $0, elementType) }
        if let index = FloatConversion.firstNonFinite(values) {
            throw TensorFileError.nonFinite(file: path, tensor: name, index: index, found: values[index])
        }
        return values
    }

    /// Lets the system drop a tensor's pages from memory until they are touched again.
    public func releasePages(of name: String) {
        if let range = contents.ranges[name] { contents.file.release(range) }
    }

    private func description(of name: String) throws -> TensorDescription {
        guard let description = contents.descriptions[name] else {
            throw TensorFileError.noSuchTensor(file: path, tensor: name)
        }
        return description
    }

    private func range(of name: String) throws -> Range<Int> {
        guard let range = contents.ranges[name] else {
            throw TensorFileError.noSuchTensor(file: path, tensor: name)
        }
        return range
    }
}

/// A tensor's bytes in its mapped file, for a model that computes with them where they lie; or in memory, where the file has
/// them in another form.
///
/// Keeps the file mapped, or the memory, as long as it lives.
// Unchecked because of the pointer: nobody writes to the bytes, and they live as long as `owner`, which is held here.
public struct MappedTensor: @unchecked Sendable {
    /// Type and shape.
    public let description: TensorDescription
    /// The bytes, little-endian, of any alignment; valid as long as this value, or a copy of it, lives.
    public let bytes: UnsafeRawBufferPointer
    private let owner: any AnyObject & Sendable

    init(description: TensorDescription, bytes: UnsafeRawBufferPointer, owner: any AnyObject & Sendable) {
        self.description = description
        self.bytes = bytes
        self.owner = owner
    }
}

/// What is wrong with the files that hold a checkpoint's tensors.
public enum TensorFileError: LocalizedError, Sendable, Equatable {
    /// The directory holds no file of weights that is known.
    case noWeights(directory: String, expected: String)
    /// The index names a file outside the checkpoint's directory.
    case shardOutsideDirectory(file: String, shard: String)
    /// The index names a file that is not there.
    case missingShard(file: String, shard: String)
    /// The index names a shard for a tensor that the shard does not have.
    case tensorNotInShard(file: String, tensor: String, shard: String)
    /// The file has no tensor of that name.
    case noSuchTensor(file: String, tensor: String)
    /// Floats were asked of a tensor of integers.
    case notFloat(file: String, tensor: String, found: ElementType)
    /// A value that no weight can have.
    case nonFinite(file: String, tensor: String, index: Int, found: Float)
    /// Two files of one model have the same tensor.
    case tensorTwice(file: String, tensor: String, other: String)
    /// No memory for a tensor that is stored in another form than it is used in.
    case outOfMemory(file: String, tensor: String, bytes: Int)

    public var errorDescription: String? {
        switch self {
        case .noWeights(let directory, let expected):
            "\(directory): expected a Hugging Face model directory, but there is no \(expected)."
        case .shardOutsideDirectory(let file, let shard):
            "\(file): the shard \"\(shard)\" is not a plain file name of this directory."
        case .missingShard(let file, let shard):
            "\(file): the shard \(shard) is not there. Download it again."
        case .tensorNotInShard(let file, let tensor, let shard):
            "\(file): tensor \"\(tensor)\" should be in \(shard), which does not have it."
        case .noSuchTensor(let file, let tensor):
            "\(file): no tensor \"\(tensor)\"."
        case .notFloat(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" holds \(found.rawValue); expected F32, F16 or BF16."
        case .nonFinite(let file, let tensor, let index, let found):
            "\(file): tensor \"\(tensor)\" holds \(found) at element \(index); expected finite numbers."
        case .tensorTwice(let file, let tensor, let other):
            "\(file): tensor \"\(tensor)\" is in \(other) too."
        case .outOfMemory(let file, let tensor, let bytes):
            "\(file): tensor \"\(tensor)\" takes \(bytes) bytes of memory, which are not there."
        }
    }
}
