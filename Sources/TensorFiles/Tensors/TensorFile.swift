/// A file of tensors, memory-mapped, its directory judged before any tensor is handed out.
///
/// The formats differ in how they say what is where; from then on all are read alike.
public protocol TensorFile: Sendable {
    /// What is where.
    var contents: MappedTensors { get }
}

/// The tensors of one mapped file, and the bytes that each takes there.
public struct MappedTensors: Sendable {
    let file: MappedFile
    let descriptions: [String: TensorDescription]
    /// Bytes of each tensor, counted from the start of the file: inside it, and as many as its description asks.
    let ranges: [String: Range<Int>]
}

extension TensorFile {
    /// The tensors by name.
    public var tensors: [String: TensorDescription] { contents.descriptions }

    /// Where the file is, for messages.
    var path: String { contents.file.path }

    /// Changes when the file is replaced or written to.
    package var identity: String { contents.file.identity }

    /// Calls `body` with a tensor's bytes, little-endian, at no particular alignment.
    ///
    /// The pointer is valid during the call only.
    ///
    /// - Throws: ``TensorFileError/noSuchTensor(file:tensor:)``, and what `body` throws.
    public func withUnsafeBytes<R>(of name: String, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        let range = try range(of: name)
        let file = contents.file
        return try withExtendedLifetime(file) {
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
        }
    }

    /// A tensor's bytes where they are mapped, for as long as the caller keeps them.
    ///
    /// - Throws: ``TensorFileError/noSuchTensor(file:tensor:)``.
    public func mapped(_ name: String) throws -> MappedTensor {
        MappedTensor(description: try description(of: name), range: try range(of: name), of: contents.file)
    }

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
