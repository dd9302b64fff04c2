import Foundation
import JSON

/// A file being written, every call checked.
///
/// Closed without ``finish()``, it removes what it wrote.
final class OutputFile {
    let path: String
    private let neededBytes: Int?
    private var descriptor: Int32

    /// Creates (or empties) a file that will hold `neededBytes` bytes, where that is known.
    ///
    /// - Throws: `FileError.cannotWrite(file:neededBytes:reason:)`.
    init(path: String, neededBytes: Int?) throws {
        self.path = path
        self.neededBytes = neededBytes
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure }
    }

    deinit { abandon() }

    private var failure: FileError {
        .cannotWrite(file: path, neededBytes: neededBytes, reason: FileError.systemReason)
    }

    /// Writes all the bytes at a byte offset.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        var written = 0
        while written < bytes.count {
            let count = pwrite(descriptor, bytes.baseAddress! + written, bytes.count - written, off_t(offset + written))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw failure }
            written += count
        }
    }

    /// Brings the bytes to the disk and closes the file.
    func finish() throws {
        // Character devices refuse fsync with EINVAL; what cannot be synchronized needs no synchronization.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw failure }
        let result = close(descriptor)
        descriptor = -1
        guard result == 0 else { throw failure }
    }

    /// Closes and removes an unfinished file; nothing when it is finished.
    func abandon() {
        guard descriptor >= 0 else { return }
        close(descriptor)
        descriptor = -1
        removeIfRegular(path)
    }
}

/// A large output file, written piece by piece, that appears whole or not at all: as ``StagedDirectory``, for one file. An
/// older file of that name is replaced.
///
/// Released without ``commit()``, it removes what it wrote.
package final class StagedFile {
    private let destination: URL
    private let file: OutputFile

    /// Makes the temporary file, and the destination's parents.
    ///
    /// - Throws: `FileError.cannotWrite(file:neededBytes:reason:)`.
    package init(destination: URL) throws {
        self.destination = destination.absoluteURL.standardizedFileURL
        let parent = self.destination.deletingLastPathComponent()
        do {
            try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
        } catch {
            throw FileError.cannotWrite(file: parent.path, neededBytes: nil, reason: error.localizedDescription)
        }
        let prefix = StagedDirectory.temporaryPrefix(of: self.destination)
        StagedDirectory.removeAbandoned(in: parent, prefix: prefix)
        let name = "\(prefix)\(getpid())-\(UInt32.random(in: 0 ... .max))"
        file = try OutputFile(path: parent.appending(path: name).path, neededBytes: nil)
    }

    /// Writes all the bytes at a byte offset.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws { try file.write(bytes, at: offset) }

    /// Brings the bytes to the disk and gives the file its name.
    package func commit() throws {
        try file.finish()
        guard rename(file.path, destination.path) == 0 else {
            let reason = FileError.systemReason
            unlink(file.path)
            throw FileError.cannotWrite(file: destination.path, neededBytes: nil, reason: reason)
        }
        try synchronizeDirectory(destination.deletingLastPathComponent().path)
    }
}

/// Removes a plain file, and nothing else: a device of that name stays.
func removeIfRegular(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return }
    unlink(path)
}

/// Brings a directory's entries (names made, renamed, removed) to the disk.
func synchronizeDirectory(_ path: String) throws {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
        throw FileError.cannotWrite(file: path, neededBytes: nil, reason: FileError.systemReason)
    }
    defer { close(descriptor) }
    // Some network and memory file systems cannot; they answer EINVAL.
    guard fsync(descriptor) == 0 || errno == EINVAL else {
        throw FileError.cannotWrite(file: path, neededBytes: nil, reason: FileError.systemReason)
    }
}

/// Replaces a file's contents atomically: readers see the old bytes or the new ones, also after a power failure.
///
/// The bytes go to a temporary sibling first, which a failure removes.
///
/// - Throws: `FileError.cannotWrite(file:neededBytes:reason:)`.
package func writeAtomically(_ data: Data, to url: URL) throws {
    let directory = url.deletingLastPathComponent().path
    let temporary = "\(directory)/.\(url.lastPathComponent).\(ProcessInfo.processInfo.globallyUniqueString)"
    do {
        let file = try OutputFile(path: temporary, neededBytes: data.count)
        try data.withUnsafeBytes { try file.write($0, at: 0) }
        try file.finish()
    } catch FileError.cannotWrite(file: _, let neededBytes, let reason) {
        // By the name that was asked for.
        throw FileError.cannotWrite(file: url.path, neededBytes: neededBytes, reason: reason)
    }
    guard rename(temporary, url.path) == 0 else {
        let reason = FileError.systemReason
        unlink(temporary)
        throw FileError.cannotWrite(file: url.path, neededBytes: data.count, reason: reason)
    }
    try synchronizeDirectory(directory)
}

/// Free bytes for this user on the volume that holds a directory; nil when the system does not say.
package func availableBytes(at path: String) -> Int? {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return nil }
    let (bytes, overflow) = UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize))
    return overflow ? nil : Int(clamping: bytes)
}
