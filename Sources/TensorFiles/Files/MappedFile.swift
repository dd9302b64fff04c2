import Foundation
import JSON

/// A file's bytes in memory, read by the kernel as they are touched.
///
/// The file must not shrink while it is mapped: the system ends a process that reads past the new end.
// Unchecked because of the pointer: the mapping is read-only, private, and lives exactly as long as the object.
final class MappedFile: @unchecked Sendable {
    let path: String
    let bytes: UnsafeRawBufferPointer
    /// Size, inode and times of the last change of contents and of anything, in nanoseconds: another file, or the same
    /// one written to, has another one.
    let identity: String

    /// Maps a regular, non-empty file.
    ///
    /// - Throws: ``FileError``.
    init(path: String) throws {
        self.path = path
        let (descriptor, status) = try openRegularFile(path)
        defer { close(descriptor) }
        identity = Self.identity(status)
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

    private static func identity(_ status: stat) -> String {
        #if canImport(Darwin)
            let (modified, changed) = (status.st_mtimespec, status.st_ctimespec)
        #else
            let (modified, changed) = (status.st_mtim, status.st_ctim)
        #endif
        let times = [modified, changed].map { "\($0.tv_sec).\($0.tv_nsec)" }
        return "\(status.st_size) bytes, inode \(status.st_ino), modified \(times[0]), changed \(times[1])"
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }

    /// Gives the pages of a range back to the system; they are read anew when touched again.
    ///
    /// A walk over a model larger than memory so keeps only the tensor at hand resident.
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
