import Foundation

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
    /// - Throws: ``SafetensorsError`` or ``FileError``.
    public init(contentsOf url: URL) throws {
        let file = try MappedFile(path: url.path)
        let header = try SafetensorsHeader(file: file.path, bytes: file.bytes)
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
