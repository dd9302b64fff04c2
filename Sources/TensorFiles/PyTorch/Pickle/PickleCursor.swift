/// Reads a pickle's operands one after another, and nothing outside it.
struct PickleCursor {
    private(set) var position = 0
    private let file: String
    private let bytes: UnsafeRawBufferPointer

    init(file: String, bytes: UnsafeRawBufferPointer) {
        self.file = file
        self.bytes = bytes
    }

    /// The next `count` bytes.
    mutating func take(_ count: Int) throws -> Slice<UnsafeRawBufferPointer> {
        guard count <= bytes.count - position else { throw malformed("it ends too early") }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func byte() throws -> UInt8 { try take(1)[position - 1] }

    mutating func littleEndian<Number: FixedWidthInteger>(_ type: Number.Type) throws -> Number {
        let slice = try take(MemoryLayout<Number>.size)
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: slice.startIndex, as: type))
    }

    mutating func bigEndianDouble() throws -> Double {
        Double(bitPattern: UInt64(bigEndian: UInt64(littleEndian: try littleEndian(UInt64.self))))
    }

    /// UTF-8 behind a length of the given type.
    mutating func text<Length: FixedWidthInteger & UnsignedInteger>(_ length: Length.Type) throws -> String {
        guard let count = Int(exactly: try littleEndian(length)) else { throw malformed("it ends too early") }
        return try text(take(count))
    }

    /// UTF-8 up to the end of a line.
    mutating func line() throws -> String {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) else {
            throw malformed("a line does not end")
        }
        let text = try text(take(end - position))
        position += 1
        return text
    }

    /// A two's complement number behind a byte of length.
    mutating func long() throws -> Int {
        let slice = try take(Int(byte()))
        guard slice.count <= 8 else { throw malformed("an integer of \(slice.count) bytes; expected at most 8") }
        guard let last = slice.last else { return 0 }
        // The sign first, then byte after byte from the most significant.
        return slice.reversed().reduce(last < 0x80 ? 0 : -1) { $0 << 8 | Int($1) }
    }

    func malformed(_ reason: String) -> PyTorchError {
        .malformedPickle(file: file, offset: position, reason: reason)
    }

    private func text(_ slice: Slice<UnsafeRawBufferPointer>) throws -> String {
        guard let text = String(validating: slice, as: UTF8.self) else { throw malformed("a text is not UTF-8") }
        return text
    }
}
