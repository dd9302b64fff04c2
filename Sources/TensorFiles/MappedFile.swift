import Foundation
import JSON

/// A file's bytes in memory, read by the kernel as they are touched.
///
/// The file must not shrink while it is mapped: the system ends a process that reads past the new end.
// Unchecked because of the pointer: the mapping is read-only, private, and lives exactly as long as the object.
final class MappedFile: @unchecked Sendable {
    let path: String
    let bytes: UnsafeRawBufferPointer
    private let modified: String

    /// Maps a regular, non-empty file.
    ///
    /// - Throws: ``FileError``.
    init(path: String) throws {
        self.path = path
        let (descriptor, status) = try openRegularFile(path)
        defer { close(descriptor) }
        modified = Self.modificationTime(status)
        let count = Int(status.st_size)
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw FileError.cannotRead(file: path, reason: FileError.systemReason)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: count)
    }

    /// Computed anew at each call: a file that is written to while it is mapped has another one.
    var identity: FileIdentity {
        FileIdentity(byteCount: bytes.count, modified: modified, sample: FileIdentity.sample(of: bytes))
    }

    /// A checksum of all bytes, by way of checksums of pieces, between which cancellation is looked for.
    func checksum() throws -> UInt64 {
        var sums: [UInt64] = []
        for start in stride(from: 0, to: bytes.count, by: 64 << 20) {
            try Task.checkCancellation()
            sums.append(xxHash64(UnsafeRawBufferPointer(rebasing: bytes[start..<min(bytes.count, start + 64 << 20)])))
        }
        return sums.withUnsafeBytes { xxHash64($0) }
    }

    private static func modificationTime(_ status: stat) -> String {
        #if canImport(Darwin)
            let time = status.st_mtimespec
        #else
            let time = status.st_mtim
        #endif
        return "\(time.tv_sec).\(time.tv_nsec)"
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }

    /// Lets the system drop the pages of a range; they are read again when touched.
    ///
    /// So a pass over a model larger than memory keeps only the present tensor resident.
    func release(_ range: Range<Int>) {
        guard let base = bytes.baseAddress else { return }
        let page = Int(getpagesize())
        // Whole pages inside the range: the edges belong to the neighbours too.
        let start = (range.lowerBound + page - 1) / page * page
        let end = range.upperBound / page * page
        guard start < end else { return }
        madvise(UnsafeMutableRawPointer(mutating: base + start), end - start, MADV_DONTNEED)
    }
}
