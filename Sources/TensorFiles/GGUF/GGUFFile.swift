import Foundation
import JSON

/// A GGUF file, memory-mapped, its header validated before any tensor is handed out: llama.cpp's format of a model, weights,
/// configuration and tokenizer in one file. Versions 2 and 3, little-endian.
///
/// Tensors of floats are read where they are mapped. Those of quantized types are described as float32, and are made of their
/// blocks when they are asked for.
///
/// Layout of the file (ggml's `docs/gguf.md`): "GGUF", version, number of tensors, number of metadata pairs; the pairs, each
/// key, type, value; the tensors' names, extents (fastest first), types and offsets; padding to the alignment; the data.
public final class GGUFFile: TensorFile {
    /// The tensors by their names in the file, and where they lie.
    public let contents: MappedTensors
    /// Version of the format.
    public let version: Int
    /// What the file says of the model.
    public let metadata: GGUFMetadata
    /// The tensors in the order of the file, with the types that they are stored in.
    public let storedTensors: [GGUFTensorDescription]

    /// Maps a file and validates its header.
    ///
    /// - Throws: ``GGUFError`` or `FileError`.
    public init(contentsOf url: URL) throws {
        let file = try MappedFile(path: url.path)
        let header = try GGUFHeader(file: file.path, bytes: file.bytes)
        version = header.version
        metadata = header.metadata
        storedTensors = header.tensors.map(\.description)
        var descriptions: [String: TensorDescription] = [:]
        var ranges: [String: Range<Int>] = [:]
        var conversions: [String: TensorConversion] = [:]
        for (tensor, range) in header.tensors {
            let elementType = tensor.type.elementType ?? .float32
            descriptions[tensor.name] = TensorDescription(
                name: tensor.name, elementType: elementType, shape: tensor.shape)
            ranges[tensor.name] = range
            if tensor.type.elementType == nil { conversions[tensor.name] = TensorConversion(tensor, to: elementType) }
        }
        contents = MappedTensors(file: file, descriptions: descriptions, ranges: ranges, conversions: conversions)
    }

    /// Whether a path is that of a GGUF file: a plain file that begins as one.
    package static func isGGUF(_ url: URL) -> Bool {
        guard let handle = try? FileHandle(forReadingFrom: url) else { return false }
        defer { try? handle.close() }
        return (try? handle.read(upToCount: 4)) == Data(GGUFHeader.magic)
    }
}

/// The tensors of a GGUF file under other names, those of quantized types as float16, queries and keys in another order of
/// their rows, matrices that are several one below the other each by itself: what a model is read from.
package final class GGUFTensors: TensorFile {
    package let contents: MappedTensors
    /// The types that the tensors are stored in, and their bytes there, by their new names.
    package let stored: [String: (type: GGUFTensorType, byteCount: Int)]

    /// A tensor's new name, and what of it is there.
    package struct Place: Sendable {
        package let name: String
        package let rowOrder: RotaryRowOrder?
        /// The rows that go there; nil for all.
        package let rows: Range<Int>?
        /// What is added to the elements, which are then float32.
        package let addend: Float

        package init(name: String, rowOrder: RotaryRowOrder? = nil, rows: Range<Int>? = nil, addend: Float = 0) {
            self.name = name
            self.rowOrder = rowOrder
            self.rows = rows
            self.addend = addend
        }
    }

    /// - Parameter places: where a tensor goes, or the parts of it; empty for those that are left out.
    /// - Throws: ``GGUFError/duplicateTensor(file:tensor:)`` where two go to one place, ``GGUFError/badShape(file:tensor:type:shape:)``
    ///   where rows are to be ordered that are none.
    package init(_ source: GGUFFile, places: (GGUFTensorDescription) throws -> [Place]) throws {
        var descriptions: [String: TensorDescription] = [:]
        var ranges: [String: Range<Int>] = [:]
        var conversions: [String: TensorConversion] = [:]
        var stored: [String: (type: GGUFTensorType, byteCount: Int)] = [:]
        for (whole, place) in try source.storedTensors.flatMap({ tensor in try places(tensor).map { (tensor, $0) } }) {
            guard let wholeRange = source.contents.ranges[whole.name] else { continue }
            let (tensor, range) = try Self.part(place.rows, of: whole, in: wholeRange, file: source.path)
            // In float16 the weights of a quantized model take half the memory of float32 and are read at twice the
            // speed. It rounds them by 2⁻¹¹ at most, where their quantization has rounded them by 2⁻⁸ at least.
            let elementType = place.addend != 0 ? .float32 : tensor.type.elementType ?? .float16
            let description = TensorDescription(name: place.name, elementType: elementType, shape: tensor.shape)
            guard descriptions.updateValue(description, forKey: place.name) == nil else {
                throw GGUFError.duplicateTensor(file: source.path, tensor: tensor.name)
            }
            ranges[place.name] = range
            stored[place.name] = (tensor.type, range.count)
            if let order = place.rowOrder, !order.orders(tensor) {
                throw GGUFError.badShape(
                    file: source.path, tensor: tensor.name, type: tensor.type.name, shape: tensor.shape.map(UInt64.init)
                )
            }
            if tensor.type.elementType == nil || place.rowOrder != nil || place.addend != 0 {
                conversions[place.name] = TensorConversion(
                    tensor, to: elementType, rowOrder: place.rowOrder, addend: place.addend)
            }
        }
        self.stored = stored
        contents = MappedTensors(
            file: source.contents.file, descriptions: descriptions, ranges: ranges, conversions: conversions)
    }

    /// Some rows of a matrix, and where they lie.
    private static func part(
        _ rows: Range<Int>?, of tensor: GGUFTensorDescription, in range: Range<Int>, file: String
    ) throws -> (GGUFTensorDescription, Range<Int>) {
        guard let rows else { return (tensor, range) }
        guard tensor.shape.count == 2, rows.upperBound <= tensor.shape[0], range.count % tensor.shape[0] == 0 else {
            throw GGUFError.badShape(
                file: file, tensor: tensor.name, type: tensor.type.name, shape: tensor.shape.map(UInt64.init))
        }
        let rowBytes = range.count / tensor.shape[0]
        let start = range.lowerBound + rows.lowerBound * rowBytes
        return (
            GGUFTensorDescription(name: tensor.name, type: tensor.type, shape: [rows.count, tensor.shape[1]]),
            start..<start + rows.count * rowBytes
        )
    }
}

/// The header of a GGUF file, validated: known types, unique keys and names, ranges that fit their shapes, inside the data
/// and without overlap.
struct GGUFHeader {
    static let magic = Array("GGUF".utf8)
    static let alignmentKey = "general.alignment"
    static let defaultAlignment = 32

    private static let maximumTensors = 1 << 20
    private static let maximumKeys = 1 << 16
    /// ggml's tensors have at most four dimensions.
    static let maximumDimensions = 4
    private static let maximumNameBytes = 1 << 16
    /// Arrays in arrays deeper than this are refused; those in use are flat.
    private static let maximumDepth = 8

    let version: Int
    private(set) var metadata: GGUFMetadata
    /// In the order of the file; bytes counted from its start.
    private(set) var tensors: [(description: GGUFTensorDescription, range: Range<Int>)] = []

    private let file: String
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    /// Reads and validates the header of a whole file's bytes.
    ///
    /// - Throws: ``GGUFError``.
    init(file: String, bytes: UnsafeRawBufferPointer) throws {
        self.file = file
        self.bytes = bytes
        metadata = GGUFMetadata(file: file)
        guard bytes.prefix(4).elementsEqual(Self.magic) else {
            let found = bytes.prefix(4).map { String($0, radix: 16) }.joined(separator: " ")
            throw GGUFError.notGGUF(file: file, found: found.isEmpty ? "nothing" : "the bytes \(found)")
        }
        offset = 4
        let (end, number) = try Self.read(UInt32.self, bytes, at: offset, file, "the version")
        offset = end
        version = Int(number)
        guard (2...3).contains(number) else {
            throw (2...3).contains(number.byteSwapped)
                ? GGUFError.bigEndian(file: file) : .unsupportedVersion(file: file, found: number)
        }
        let tensorCount = try count("tensors", limit: Self.maximumTensors)
        let keyCount = try count("metadata keys", limit: Self.maximumKeys)
        for index in 0..<keyCount { try readPair(index) }
        let alignment = try readAlignment()
        var entries: [(description: GGUFTensorDescription, offset: UInt64)] = []
        var names = Set<String>()
        for index in 0..<tensorCount {
            let entry = try readTensor(index)
            guard names.insert(entry.description.name).inserted else {
                throw GGUFError.duplicateTensor(file: file, tensor: entry.description.name)
            }
            entries.append(entry)
        }
        let dataStart = min((offset + alignment - 1) / alignment * alignment, bytes.count)
        for entry in entries { tensors.append((entry.description, try range(of: entry, dataStart, alignment))) }
        try checkOverlap()
    }

    // MARK: Metadata

    private mutating func readPair(_ index: Int) throws {
        let key = try string("key \(index) of the metadata", limit: Self.maximumNameBytes)
        guard metadata[key] == nil else { throw GGUFError.duplicateKey(file: file, key: key) }
        let place = "\"\(key)\""
        let type = try valueType(place)
        switch type {
        case .string: metadata[key] = .string(try string(place))
        case .array: metadata[key] = .array(try array(place))
        default:
            let width = type.minimumByteCount
            metadata[key] = GGUFValue(type, scalar: bytes.baseAddress! + (try skip(UInt64(width), place)))
        }
    }

    private mutating func array(_ place: String) throws -> GGUFArray {
        let type = try valueType(place)
        let count = try elementCount(of: type, place)
        let start = offset
        try skipElements(type, count, place, depth: 1)
        return GGUFArray(elementType: type, count: count, bytes: Array(bytes[start..<offset]))
    }

    private mutating func elementCount(of type: GGUFValueType, _ place: String) throws -> Int {
        let count = try read(UInt64.self, place)
        let (needed, overflow) = count.multipliedReportingOverflow(by: UInt64(type.minimumByteCount))
        guard !overflow, needed <= UInt64(bytes.count - offset) else {
            throw truncated(place, overflow ? .max : needed)
        }
        return Int(count)
    }

    /// Walks over elements, so that everything in them is known to be there.
    private mutating func skipElements(_ type: GGUFValueType, _ count: Int, _ place: String, depth: Int) throws {
        switch type {
        case .string:
            for _ in 0..<count { _ = try skip(try read(UInt64.self, place), place) }
        case .array:
            guard depth < Self.maximumDepth else {
                throw GGUFError.unsupportedValue(
                    file: file, key: place, found: "nested more than \(Self.maximumDepth) deep",
                    supported: "flat arrays")
            }
            for _ in 0..<count {
                let inner = try valueType(place)
                try skipElements(inner, try elementCount(of: inner, place), place, depth: depth + 1)
            }
        default: _ = try skip(UInt64(count * type.minimumByteCount), place)
        }
    }

    private func readAlignment() throws -> Int {
        let alignment = try metadata.integer(Self.alignmentKey, in: 1...1 << 20) ?? Self.defaultAlignment
        guard alignment & (alignment - 1) == 0 else {
            throw GGUFError.wrongValue(
                file: file, key: Self.alignmentKey, expected: "a power of two", found: "\(alignment)")
        }
        return alignment
    }

    // MARK: Tensors

    private mutating func readTensor(_ index: Int) throws -> (description: GGUFTensorDescription, offset: UInt64) {
        let name = try string("the name of tensor \(index)", limit: Self.maximumNameBytes)
        let place = "the entry of tensor \"\(name)\""
        let dimensions = try read(UInt32.self, place)
        guard (1...UInt32(Self.maximumDimensions)).contains(dimensions) else {
            throw GGUFError.wrongValue(
                file: file, key: name, expected: "1 to \(Self.maximumDimensions) dimensions", found: "\(dimensions)")
        }
        var extents: [UInt64] = []
        for _ in 0..<dimensions { extents.append(try read(UInt64.self, place)) }
        let number = try read(UInt32.self, place)
        guard let type = GGUFTensorType(rawValue: number) else {
            throw GGUFError.unsupportedTensorType(
                file: file, tensor: name, found: GGUFTensorType.unsupportedNames[number] ?? "\(number)")
        }
        let shape = extents.reversed().compactMap { Int(exactly: $0) }
        let description = GGUFTensorDescription(name: name, type: type, shape: shape)
        guard shape.count == extents.count, description.checkedByteCount != nil else {
            throw GGUFError.badShape(file: file, tensor: name, type: type.name, shape: extents.reversed())
        }
        return (description, try read(UInt64.self, place))
    }

    private func range(
        of entry: (description: GGUFTensorDescription, offset: UInt64), _ dataStart: Int, _ alignment: Int
    ) throws -> Range<Int> {
        let name = entry.description.name
        guard entry.offset % UInt64(alignment) == 0 else {
            throw GGUFError.misaligned(file: file, tensor: name, offset: entry.offset, alignment: alignment)
        }
        let byteCount = entry.description.checkedByteCount ?? 0
        let dataBytes = bytes.count - dataStart
        guard byteCount <= dataBytes, entry.offset <= UInt64(dataBytes - byteCount) else {
            throw GGUFError.rangePastEnd(
                file: file, tensor: name, offset: entry.offset, bytes: byteCount, dataBytes: dataBytes)
        }
        let start = dataStart + Int(entry.offset)
        return start..<start + byteCount
    }

    private func checkOverlap() throws {
        let ordered = tensors.filter { !$0.range.isEmpty }.sorted { $0.range.lowerBound < $1.range.lowerBound }
        for (previous, next) in zip(ordered, ordered.dropFirst())
        where next.range.lowerBound < previous.range.upperBound {
            throw GGUFError.overlap(file: file, tensor: next.description.name, other: previous.description.name)
        }
    }

    // MARK: Bytes

    private static func read<Integer: FixedWidthInteger>(
        _ type: Integer.Type, _ bytes: UnsafeRawBufferPointer, at offset: Int, _ file: String, _ place: String
    ) throws -> (end: Int, value: Integer) {
        let width = MemoryLayout<Integer>.size
        guard bytes.count - offset >= width else {
            throw GGUFError.truncated(
                file: file, place: place, neededBytes: UInt64(width), remainingBytes: bytes.count - offset)
        }
        return (offset + width, Integer(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type)))
    }

    private mutating func read<Integer: FixedWidthInteger>(_ type: Integer.Type, _ place: String) throws -> Integer {
        let (end, value) = try Self.read(type, bytes, at: offset, file, place)
        offset = end
        return value
    }

    private mutating func count(_ what: String, limit: Int) throws -> Int {
        let count = try read(UInt64.self, "the number of \(what)")
        guard count <= UInt64(limit) else {
            throw GGUFError.tooMany(file: file, what: what, found: count, limit: limit)
        }
        return Int(count)
    }

    private mutating func valueType(_ place: String) throws -> GGUFValueType {
        let number = try read(UInt32.self, place)
        guard let type = GGUFValueType(rawValue: number) else {
            throw GGUFError.unknownValueType(file: file, place: place, found: number)
        }
        return type
    }

    private mutating func string(_ place: String, limit: Int = .max) throws -> String {
        let length = try read(UInt64.self, place)
        guard length <= UInt64(limit) else {
            throw GGUFError.tooMany(file: file, what: "bytes in \(place)", found: length, limit: limit)
        }
        let start = try skip(length, place)
        guard let string = String(validating: bytes[start..<offset], as: UTF8.self) else {
            throw GGUFError.notUTF8(file: file, place: place)
        }
        return string
    }

    /// Moves on by some bytes, which have to be there.
    ///
    /// - Returns: where they begin.
    private mutating func skip(_ count: UInt64, _ place: String) throws -> Int {
        guard count <= UInt64(bytes.count - offset) else { throw truncated(place, count) }
        defer { offset += Int(count) }
        return offset
    }

    private func truncated(_ place: String, _ needed: UInt64) -> GGUFError {
        .truncated(file: file, place: place, neededBytes: needed, remainingBytes: bytes.count - offset)
    }
}
