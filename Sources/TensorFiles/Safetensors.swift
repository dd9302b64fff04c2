import Foundation
import JSON

/// A safetensors file, memory-mapped, its header validated before any tensor is handed out.
///
/// Opening costs the header alone; a tensor's bytes are read when they are touched.
public final class SafetensorsFile: TensorFile {
    /// The tensors, and where they lie.
    public let contents: MappedTensors
    /// The header's `__metadata__`.
    public let metadata: [String: String]

    /// Maps a file and validates its header.
    ///
    /// - Throws: ``SafetensorsError`` or `FileError`.
    public convenience init(contentsOf url: URL) throws { try self.init(contentsOf: url, ignores: { _ in false }) }

    /// Maps a file and validates its header.
    ///
    /// - Parameter ignores: names of tensors that are left out, whatever their element type.
    /// - Throws: ``SafetensorsError`` or `FileError`.
    init(contentsOf url: URL, ignores: (String) -> Bool) throws {
        let file = try MappedFile(path: url.path)
        let header = try SafetensorsHeader(file: file.path, bytes: file.bytes, ignores: ignores)
        contents = MappedTensors(
            file: file,
            descriptions: header.entries.mapValues(\.description),
            ranges: header.entries.mapValues(\.range)
        )
        metadata = header.metadata
    }

    /// Calls `body` with the data of all tensors, from the first byte of the first to the last of the last.
    package func withUnsafeDataBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let file = contents.file
        let start = contents.ranges.values.map(\.lowerBound).min() ?? file.bytes.count
        return try withExtendedLifetime(file) {
            try body(UnsafeRawBufferPointer(rebasing: file.bytes[start...]))
        }
    }
}

/// The header of a safetensors file, validated: unique names, known types, ranges that fit their shapes and cover the
/// data without overlap or hole.
///
/// Layout of the file: 8 bytes little-endian header length n, n bytes of JSON
/// `{"name": {"dtype": …, "shape": […], "data_offsets": [begin, end]}, …, "__metadata__": {…}}`, then the data.
struct SafetensorsHeader {
    /// The format's own limit.
    static let byteLimit = 100_000_000

    struct Entry {
        let description: TensorDescription
        /// Bytes of the tensor, counted from the start of the file.
        let range: Range<Int>
    }

    private(set) var entries: [String: Entry] = [:]
    /// Names and ranges of what was left out; they count as covered.
    private var ignored: [(name: String, range: Range<Int>)] = []
    private(set) var metadata: [String: String] = [:]
    private let file: String

    /// Reads and validates the header of a whole file's bytes.
    ///
    /// - Throws: ``SafetensorsError``.
    init(file: String, bytes: UnsafeRawBufferPointer, ignores: (String) -> Bool) throws {
        self.file = file
        guard bytes.count >= 8 else { throw SafetensorsError.truncated(file: file, bytes: bytes.count) }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(bytes.count - 8) else {
            throw SafetensorsError.headerPastEnd(file: file, headerBytes: length, fileBytes: bytes.count)
        }
        guard length <= Self.byteLimit else {
            throw SafetensorsError.headerTooLarge(file: file, headerBytes: length, limit: Self.byteLimit)
        }
        let dataStart = 8 + Int(length)
        let object = try Self.parse(file: file, UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart]))
        for member in object.members {
            if member.key == "__metadata__" {
                metadata = try readMetadata(member.value)
                continue
            }
            let fields = try readFields(member.key, member.value)
            guard fields.end <= bytes.count - dataStart else {
                throw SafetensorsError.rangePastEnd(
                    file: file, tensor: member.key, end: fields.end, dataBytes: bytes.count - dataStart)
            }
            let range = dataStart + fields.begin..<dataStart + fields.end
            if ignores(member.key) {
                ignored.append((member.key, range))
            } else {
                entries[member.key] = Entry(description: try description(member.key, fields), range: range)
            }
        }
        try checkCoverage(dataStart..<bytes.count)
    }

    private static func parse(file: String, _ bytes: UnsafeRawBufferPointer) throws -> JSONObject {
        do {
            guard case .object(let object) = try JSONValue.parse(bytes) else {
                throw SafetensorsError.malformedHeader(file: file, reason: "expected a JSON object")
            }
            return object
        } catch let error as JSONError {
            if case .duplicateKey(let name) = error.problem {
                throw SafetensorsError.duplicateName(file: file, name: name)
            }
            throw SafetensorsError.malformedHeader(file: file, reason: error.localizedDescription)
        }
    }

    private func readMetadata(_ value: JSONValue) throws -> [String: String] {
        guard case .object(let object) = value else {
            throw malformed("__metadata__", expected: "an object of strings", found: value)
        }
        var metadata: [String: String] = [:]
        for member in object.members {
            guard case .string(let text) = member.value else {
                throw malformed("__metadata__", expected: "a string for \"\(member.key)\"", found: member.value)
            }
            metadata[member.key] = text
        }
        return metadata
    }

    /// An entry as stated.
    private struct Fields {
        let type: String
        let shape: [Int]
        let begin: Int
        let end: Int
    }

    private func readFields(_ name: String, _ value: JSONValue) throws -> Fields {
        guard case .object(let object) = value else { throw malformed(name, expected: "an object", found: value) }
        guard case .string(let typeName)? = object["dtype"] else {
            throw malformed(name, expected: "a string \"dtype\"", found: object["dtype"] ?? .null)
        }
        guard let shape = Self.naturalNumbers(object["shape"]) else {
            throw malformed(name, expected: "natural numbers as \"shape\"", found: object["shape"] ?? .null)
        }
        guard let offsets = Self.naturalNumbers(object["data_offsets"]), offsets.count == 2, offsets[0] <= offsets[1]
        else {
            throw malformed(name, expected: "\"data_offsets\": [begin, end]", found: object["data_offsets"] ?? .null)
        }
        guard object.members.count == 3 else {
            throw malformed(name, expected: "dtype, shape and data_offsets alone", found: value)
        }
        return Fields(type: typeName, shape: shape, begin: offsets[0], end: offsets[1])
    }

    private func description(_ name: String, _ fields: Fields) throws -> TensorDescription {
        guard let elementType = ElementType(rawValue: fields.type) else {
            throw SafetensorsError.unsupportedElementType(file: file, tensor: name, found: fields.type)
        }
        let description = TensorDescription(name: name, elementType: elementType, shape: fields.shape)
        guard let byteCount = description.checkedByteCount else {
            throw SafetensorsError.sizeOverflow(file: file, tensor: name, shape: fields.shape)
        }
        guard byteCount == fields.end - fields.begin else {
            throw SafetensorsError.rangeDisagreesWithShape(
                file: file, tensor: name, expectedBytes: byteCount, foundBytes: fields.end - fields.begin)
        }
        return description
    }

    private static func naturalNumbers(_ value: JSONValue?) -> [Int]? {
        guard case .array(let elements)? = value else { return nil }
        var numbers: [Int] = []
        for element in elements {
            guard case .integer(let number) = element, number >= 0 else { return nil }
            numbers.append(number)
        }
        return numbers
    }

    /// The ranges, in order, must meet end to start and fill the data exactly.
    private func checkCoverage(_ data: Range<Int>) throws {
        let ordered = (entries.map { (name: $0.key, range: $0.value.range) } + ignored).sorted {
            ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
        }
        var end = data.lowerBound
        var previous = ""
        for entry in ordered {
            if entry.range.lowerBound < end {
                throw SafetensorsError.overlap(file: file, tensor: entry.name, other: previous)
            }
            if entry.range.lowerBound > end {
                throw SafetensorsError.hole(
                    file: file,
                    begin: end - data.lowerBound,
                    end: entry.range.lowerBound - data.lowerBound
                )
            }
            end = entry.range.upperBound
            previous = entry.name
        }
        guard end == data.upperBound else {
            throw SafetensorsError.hole(file: file, begin: end - data.lowerBound, end: data.count)
        }
    }

    private func malformed(_ tensor: String, expected: String, found: JSONValue) -> SafetensorsError {
        .malformedEntry(file: file, tensor: tensor, expected: expected, found: found.summary)
    }
}

/// What is wrong with a safetensors file. Every case names the file, and the tensor where there is one.
public enum SafetensorsError: LocalizedError, Sendable, Equatable {
    /// Too short for the eight bytes that give the header's length.
    case truncated(file: String, bytes: Int)
    /// The header would end after the file does: a truncated file, or none of this format.
    case headerPastEnd(file: String, headerBytes: UInt64, fileBytes: Int)
    /// Longer than the format allows.
    case headerTooLarge(file: String, headerBytes: UInt64, limit: Int)
    /// The header is no JSON object; the reason says where.
    case malformedHeader(file: String, reason: String)
    /// Two entries of the header have the same name.
    case duplicateName(file: String, name: String)
    /// An entry of the header is not what the format asks for.
    case malformedEntry(file: String, tensor: String, expected: String, found: String)
    /// An element type that language-model checkpoints do not use.
    case unsupportedElementType(file: String, tensor: String, found: String)
    /// The product of the shape does not fit in 64 bits.
    case sizeOverflow(file: String, tensor: String, shape: [Int])
    /// The byte range is not as long as the shape asks.
    case rangeDisagreesWithShape(file: String, tensor: String, expectedBytes: Int, foundBytes: Int)
    /// The byte range leaves the file: a truncated download, most often.
    case rangePastEnd(file: String, tensor: String, end: Int, dataBytes: Int)
    /// Two tensors share bytes.
    case overlap(file: String, tensor: String, other: String)
    /// Bytes that belong to no tensor.
    case hole(file: String, begin: Int, end: Int)

    public var errorDescription: String? {
        switch self {
        case .truncated(let file, let bytes):
            "\(file): \(bytes) bytes; a safetensors file has at least 8. Download it again."
        case .headerPastEnd(let file, let header, let bytes):
            "\(file): the header is said to take \(header) bytes, the file has \(bytes). "
                + "It is truncated, or not a safetensors file; download it again."
        case .headerTooLarge(let file, let header, let limit):
            "\(file): the header is said to take \(header) bytes; expected at most \(limit). Not a safetensors file?"
        case .malformedHeader(let file, let reason):
            "\(file): the header is damaged: \(reason)."
        case .duplicateName(let file, let name):
            "\(file): the header names \"\(name)\" twice."
        case .malformedEntry(let file, let tensor, let expected, let found):
            "\(file): header entry \"\(tensor)\": expected \(expected), found \(found)."
        case .unsupportedElementType(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" has element type \(found); expected one of "
                + ElementType.allCases.map(\.rawValue).joined(separator: ", ") + "."
        case .sizeOverflow(let file, let tensor, let shape):
            "\(file): tensor \"\(tensor)\": the size of shape \(shape) does not fit in 64 bits."
        case .rangeDisagreesWithShape(let file, let tensor, let expected, let found):
            "\(file): tensor \"\(tensor)\": its shape takes \(expected) bytes, its data_offsets span \(found)."
        case .rangePastEnd(let file, let tensor, let end, let bytes):
            "\(file): tensor \"\(tensor)\" ends at byte \(end) of \(bytes) data bytes. "
                + "The file is truncated; download it again."
        case .overlap(let file, let tensor, let other):
            "\(file): tensors \"\(other)\" and \"\(tensor)\" overlap."
        case .hole(let file, let begin, let end):
            "\(file): data bytes \(begin) to \(end) belong to no tensor."
        }
    }
}
