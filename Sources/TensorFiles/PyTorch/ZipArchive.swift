/// The directory of a zip archive whose entries are stored as they are, so that their bytes can be read where they are
/// mapped. That is how `torch.save` writes them.
///
/// Layout of the file: each entry is a local header (30 bytes, name, extra field) and its bytes; then the directory, one
/// record (46 bytes, name, extra field, comment) per entry; then, where numbers need 64 bits, the zip64 end record and
/// its locator; then the end record, 22 bytes. Numbers are little-endian. Source: PKWARE's APPNOTE 6.3.
///
/// What `torch.save` never writes is refused and not interpreted: compression, encryption, comments, several volumes,
/// bytes before the archive. Checksums are not compared: that would read every weight, and `torch.save` can be told to
/// write none.
struct ZipArchive {
    /// More than a million entries; a checkpoint has some thousand.
    static let directoryByteLimit = 64 << 20

    /// Where the bytes of each entry lie in the file.
    private(set) var entries: [String: Range<Int>] = [:]

    private let file: String
    private let bytes: UnsafeRawBufferPointer

    /// Reads and validates the directory of a whole file's bytes.
    ///
    /// - Throws: ``PyTorchError``.
    init(file: String, bytes: UnsafeRawBufferPointer) throws {
        self.file = file
        self.bytes = bytes
        try readEntries()
    }

    // MARK: - End records

    private static let endRecordLength = 22
    private static let locatorLength = 20
    private static let zip64RecordLength = 56

    /// Bytes of the directory, and its number of records.
    private func directory() throws -> (range: Range<Int>, count: UInt64) {
        let end = bytes.count - Self.endRecordLength
        guard end >= 0, number(UInt32.self, end) == 0x0605_4B50, number(UInt16.self, end + 20) == 0 else {
            throw PyTorchError.notAnArchive(file: file, bytes: bytes.count)
        }
        let locator = end - Self.locatorLength
        if locator >= 0, number(UInt32.self, locator) == 0x0706_4B50 {
            let record = try position(number(UInt64.self, locator + 8), "the zip64 end record", before: locator)
            guard locator - record >= Self.zip64RecordLength, number(UInt32.self, record) == 0x0606_4B50 else {
                throw malformed("the zip64 end record is not where its locator says")
            }
            return try directory(
                start: number(UInt64.self, record + 48),
                byteCount: number(UInt64.self, record + 40),
                count: number(UInt64.self, record + 32),
                before: record
            )
        }
        return try directory(
            start: UInt64(number(UInt32.self, end + 16)),
            byteCount: UInt64(number(UInt32.self, end + 12)),
            count: UInt64(number(UInt16.self, end + 10)),
            before: end
        )
    }

    private func directory(
        start: UInt64, byteCount: UInt64, count: UInt64, before end: Int
    ) throws -> (range: Range<Int>, count: UInt64) {
        let start = try position(start, "the directory", before: end)
        guard byteCount == UInt64(end - start) else {
            throw malformed("the directory is said to take \(byteCount) bytes, there are \(end - start)")
        }
        guard end - start <= Self.directoryByteLimit else {
            throw PyTorchError.tooLarge(
                file: file, part: "the zip directory", bytes: end - start, limit: Self.directoryByteLimit)
        }
        return (start..<end, count)
    }

    // MARK: - Entries

    private mutating func readEntries() throws {
        let (directory, count) = try directory()
        var record = directory.lowerBound
        // From header to last byte, to see that no two entries share any.
        var extents: [(range: Range<Int>, name: String)] = []
        while record < directory.upperBound {
            let (name, extent, data) = try readEntry(&record, directory)
            guard entries.updateValue(data, forKey: name) == nil else {
                throw PyTorchError.duplicateEntry(file: file, entry: name)
            }
            extents.append((extent, name))
        }
        guard count == UInt64(extents.count) else {
            throw malformed("the directory is said to have \(count) entries, it has \(extents.count)")
        }
        extents.sort { $0.range.lowerBound < $1.range.lowerBound }
        for (first, second) in zip(extents, extents.dropFirst())
        where second.range.lowerBound < first.range.upperBound {
            throw PyTorchError.overlappingEntries(file: file, entry: second.name, other: first.name)
        }
    }

    /// Reads the directory record at `record`, moves on behind it, and validates the local header that it points to.
    private func readEntry(
        _ record: inout Int, _ directory: Range<Int>
    ) throws -> (name: String, extent: Range<Int>, data: Range<Int>) {
        let start = record
        guard directory.upperBound - start >= 46, number(UInt32.self, start) == 0x0201_4B50 else {
            throw malformed("no directory record at byte \(start)")
        }
        let nameLength = Int(number(UInt16.self, start + 28))
        let extraLength = Int(number(UInt16.self, start + 30))
        let commentLength = Int(number(UInt16.self, start + 32))
        guard directory.upperBound - start - 46 >= nameLength + extraLength + commentLength else {
            throw malformed("the directory record at byte \(start) ends after the directory does")
        }
        let nameRange = start + 46..<start + 46 + nameLength
        record = nameRange.upperBound + extraLength + commentLength
        guard let name = String(validating: bytes[nameRange], as: UTF8.self) else {
            throw malformed("the name of the entry at byte \(start) is not UTF-8")
        }
        guard number(UInt16.self, start + 8) & 1 == 0 else {
            throw PyTorchError.encodedEntry(file: file, entry: name, encoding: "encrypted")
        }
        guard number(UInt16.self, start + 10) == 0 else {
            throw PyTorchError.encodedEntry(file: file, entry: name, encoding: "compressed")
        }
        let sizes = try wideSizes(
            of: name, record: start, extra: nameRange.upperBound..<nameRange.upperBound + extraLength)
        guard sizes.stored == sizes.whole else {
            throw malformed("entry \"\(name)\": \(sizes.stored) bytes stored of \(sizes.whole)")
        }

        let header = try position(sizes.header, "the header of \"\(name)\"", before: directory.lowerBound)
        guard directory.lowerBound - header >= 30, number(UInt32.self, header) == 0x0403_4B50 else {
            throw malformed("entry \"\(name)\" has no header at byte \(header)")
        }
        let headerNameLength = Int(number(UInt16.self, header + 26))
        let data = header + 30 + headerNameLength + Int(number(UInt16.self, header + 28))
        guard data <= directory.lowerBound, sizes.whole <= UInt64(directory.lowerBound - data) else {
            throw malformed("entry \"\(name)\" is said to take \(sizes.whole) bytes, which pass the directory's start")
        }
        guard bytes[header + 30..<header + 30 + headerNameLength].elementsEqual(bytes[nameRange]) else {
            throw malformed("entry \"\(name)\" has another name in its header")
        }
        let dataEnd = data + Int(sizes.whole)
        return (name, header..<dataEnd, data..<dataEnd)
    }

    /// Sizes and header offset of a directory record: numbers of 32 bits, but all bits set say that the extra field 1
    /// has 64 of them, in this order.
    private func wideSizes(
        of name: String, record: Int, extra: Range<Int>
    ) throws -> (whole: UInt64, stored: UInt64, header: UInt64) {
        var numbers = [24, 20, 42].map { UInt64(number(UInt32.self, record + $0)) }
        let wide = numbers.indices.filter { numbers[$0] == 0xFFFF_FFFF }
        guard !wide.isEmpty else { return (numbers[0], numbers[1], numbers[2]) }
        var field = extra.lowerBound
        while extra.upperBound - field >= 4 {
            let length = Int(number(UInt16.self, field + 2))
            guard extra.upperBound - field - 4 >= length else { break }
            if number(UInt16.self, field) == 1, length >= 8 * wide.count {
                for (position, index) in wide.enumerated() {
                    numbers[index] = number(UInt64.self, field + 4 + 8 * position)
                }
                return (numbers[0], numbers[1], numbers[2])
            }
            field += 4 + length
        }
        throw malformed("entry \"\(name)\" lacks its 64-bit sizes")
    }

    // MARK: - Numbers

    /// A little-endian number; the caller has checked that it is inside the file.
    private func number<Number: FixedWidthInteger>(_ type: Number.Type, _ offset: Int) -> Number {
        Number(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
    }

    /// An offset that the file states, if it is one of a byte before `end`.
    private func position(_ offset: UInt64, _ part: String, before end: Int) throws -> Int {
        guard let position = Int(exactly: offset), position <= end else {
            throw malformed("\(part) is said to be at byte \(offset), past byte \(end)")
        }
        return position
    }

    private func malformed(_ reason: String) -> PyTorchError { .malformedArchive(file: file, reason: reason) }
}
