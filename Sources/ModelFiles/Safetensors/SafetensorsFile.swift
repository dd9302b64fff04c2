import Foundation

/// A safetensors file, memory-mapped, its header validated before any tensor is handed out.
///
/// Opening costs the header alone; a tensor's bytes are read when they are touched.
public final class SafetensorsFile: Sendable {
    /// The tensors by name.
    public let tensors: [String: TensorDescription]
    /// The header's `__metadata__`.
    public let metadata: [String: String]
    /// Where the file is, for messages.
    let path: String

    private let file: MappedFile
    private let ranges: [String: Range<Int>]

    /// Maps a file and validates its header.
    ///
    /// - Throws: ``SafetensorsError`` or ``FileError``.
    public init(contentsOf url: URL) throws {
        path = url.path
        file = try MappedFile(path: path)
        let header = try SafetensorsHeader(file: path, bytes: file.bytes)
        tensors = header.entries.mapValues(\.description)
        ranges = header.entries.mapValues(\.range)
        metadata = header.metadata
    }

    /// Changes when the file is replaced or written to.
    var identity: String { file.identity }

    /// Calls `body` with a tensor's bytes, little-endian, at no particular alignment.
    ///
    /// The pointer is valid during the call only.
    ///
    /// - Throws: ``SafetensorsError/noSuchTensor(file:tensor:)``, and what `body` throws.
    public func withUnsafeBytes<R>(of name: String, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        guard let range = ranges[name] else { throw SafetensorsError.noSuchTensor(file: path, tensor: name) }
        return try withExtendedLifetime(file) {
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
        }
    }

    /// Calls `body` with the data of all tensors, from the first byte of the first to the last of the last.
    package func withUnsafeDataBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let start = ranges.values.map(\.lowerBound).min() ?? file.bytes.count
        return try withExtendedLifetime(file) {
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[start...]))
        }
    }

    /// A tensor's bytes where they are mapped, for as long as the caller keeps them.
    ///
    /// - Throws: ``SafetensorsError/noSuchTensor(file:tensor:)``.
    public func mapped(_ name: String) throws -> MappedTensor {
        guard let description = tensors[name], let range = ranges[name] else {
            throw SafetensorsError.noSuchTensor(file: path, tensor: name)
        }
        return MappedTensor(description: description, range: range, of: file)
    }

    /// A float tensor's values.
    ///
    /// - Throws: ``SafetensorsError/noSuchTensor(file:tensor:)``, ``CheckpointError/notFloat(file:tensor:found:)``,
    ///   ``CheckpointError/nonFinite(file:tensor:index:found:)``.
    public func floats(of name: String) throws -> [Float] {
        guard let description = tensors[name] else {
            throw SafetensorsError.noSuchTensor(file: path, tensor: name)
        }
        guard description.elementType.isFloat else {
            throw CheckpointError.notFloat(file: path, tensor: name, found: description.elementType)
        }
        let values = try withUnsafeBytes(of: name) { FloatConversion.floats(from: $0, description.elementType) }
        if let index = FloatConversion.firstNonFinite(values) {
            throw CheckpointError.nonFinite(file: path, tensor: name, index: index, found: values[index])
        }
        return values
    }

    /// Lets the system drop a tensor's pages from memory until they are touched again.
    public func releasePages(of name: String) {
        if let range = ranges[name] { file.release(range) }
    }
}
