/// A tensor's bytes in its mapped file, for a model that computes with them where they lie.
///
/// Keeps the file mapped as long as it lives.
// Unchecked because of the pointer: the mapping is read-only and lives as long as `file`, which is held here.
public struct MappedTensor: @unchecked Sendable {
    /// Type and shape.
    public let description: TensorDescription
    /// The bytes, little-endian, at no particular alignment; valid as long as this value, or a copy of it, lives.
    public let bytes: UnsafeRawBufferPointer
    private let file: MappedFile

    init(description: TensorDescription, range: Range<Int>, of file: MappedFile) {
        self.description = description
        self.file = file
        bytes = UnsafeRawBufferPointer(rebasing: file.bytes[range])
    }
}
