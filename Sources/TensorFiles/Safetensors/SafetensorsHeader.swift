import JSON

/// The header of a safetensors file, judged: unique names, known types, ranges that fit their shapes and cover the
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
    private(set) var metadata: [String: String] = [:]
    private let file: String

    /// Reads and judges the header of a whole file's bytes.
    ///
    /// - Throws: ``SafetensorsError``.
    init(file: String, bytes: UnsafeRawBufferPointer) throws {
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
            } else {
                let entry = try readEntry(member.key, member.value, dataStart: dataStart, fileBytes: bytes.count)
                entries[member.key] = entry
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

    private func readEntry(_ name: String, _ value: JSONValue, dataStart: Int, fileBytes: Int) throws -> Entry {
        guard case .object(let object) = value else { throw malformed(name, expected: "an object", found: value) }
        guard case .string(let typeName)? = object["dtype"] else {
            throw malformed(name, expected: "a string \"dtype\"", found: object["dtype"] ?? .null)
        }
        guard let elementType = ElementType(rawValue: typeName) else {
            throw SafetensorsError.unsupportedElementType(file: file, tensor: name, found: typeName)
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
        let description = TensorDescription(name: name, elementType: elementType, shape: shape)
        guard let byteCount = description.checkedByteCount else {
            throw SafetensorsError.sizeOverflow(file: file, tensor: name, shape: shape)
        }
        guard byteCount == offsets[1] - offsets[0] else {
            throw SafetensorsError.rangeDisagreesWithShape(
                file: file,
                tensor: name,
                expectedBytes: byteCount,
                foundBytes: offsets[1] - offsets[0]
            )
        }
        let dataBytes = fileBytes - dataStart
        guard offsets[1] <= dataBytes else {
            throw SafetensorsError.rangePastEnd(file: file, tensor: name, end: offsets[1], dataBytes: dataBytes)
        }
        return Entry(description: description, range: dataStart + offsets[0]..<dataStart + offsets[1])
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
        let ordered = entries.values.sorted {
            ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
        }
        var end = data.lowerBound
        var previous = ""
        for entry in ordered {
            if entry.range.lowerBound < end {
                throw SafetensorsError.overlap(file: file, tensor: entry.description.name, other: previous)
            }
            if entry.range.lowerBound > end {
                throw SafetensorsError.hole(
                    file: file,
                    begin: end - data.lowerBound,
                    end: entry.range.lowerBound - data.lowerBound
                )
            }
            end = entry.range.upperBound
            previous = entry.description.name
        }
        guard end == data.upperBound else {
            throw SafetensorsError.hole(file: file, begin: end - data.lowerBound, end: data.count)
        }
    }

    private func malformed(_ tensor: String, expected: String, found: JSONValue) -> SafetensorsError {
        .malformedEntry(file: file, tensor: tensor, expected: expected, found: found.summary)
    }
}
