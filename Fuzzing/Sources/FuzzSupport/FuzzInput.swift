/// The bytes that libFuzzer hands to a target, cut into the files and texts that it consists of.
///
/// The parts are separated by the byte 0x1E, "record separator", which stands in no JSON.
public struct FuzzInput {
    public static let separator: UInt8 = 0x1E

    private let parts: [UnsafeRawBufferPointer]

    /// Cuts an input into at most `count` parts; what is behind the last separator that counts is one part.
    public init(_ start: UnsafePointer<UInt8>?, _ byteCount: Int, parts count: Int = 1) {
        var rest = UnsafeRawBufferPointer(start: start, count: byteCount)
        var parts: [UnsafeRawBufferPointer] = []
        while parts.count + 1 < count, let end = rest.firstIndex(of: Self.separator) {
            parts.append(UnsafeRawBufferPointer(rebasing: rest[..<end]))
            rest = UnsafeRawBufferPointer(rebasing: rest[(end + 1)...])
        }
        self.parts = parts + [rest]
    }

    /// A part; nil where the input has no so many.
    public subscript(index: Int) -> UnsafeRawBufferPointer? { index < parts.count ? parts[index] : nil }
}
