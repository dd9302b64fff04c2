import Foundation
import JSON
import TensorFiles

/// The folder of one repository in Hugging Face's cache (hub-docs, "Local cache"), which huggingface_hub and we read and write
/// alike:
///
///     models--ORG--NAME/
///         blobs/HASH                         what was downloaded, by the hub's ETag
///         blobs/HASH.incomplete              what is being downloaded
///         refs/REVISION                      the commit that the revision was when it was last asked for
///         snapshots/COMMIT/PATH              links to the blobs: a directory in Hugging Face layout
///         trees/COMMIT.json                  what the commit's files are
///     .locks/models--ORG--NAME/HASH.lock     held by whoever downloads the blob
struct HubCache: Sendable {
    private let folder: URL
    private let locks: URL
    private let copiesFiles: Bool

    init(_ repository: ModelRepository, settings: HubSettings) {
        let name = "models--" + repository.id.replacing("/", with: "--")
        folder = settings.cache.appending(path: name, directoryHint: .isDirectory)
        locks = settings.cache.appending(path: ".locks/\(name)", directoryHint: .isDirectory)
        copiesFiles = settings.copiesFiles
    }

    // MARK: Revisions

    /// The commit that a revision was when it was last asked for.
    func commit(of revision: String) -> Commit? {
        if let commit = Commit(revision) { return commit }
        guard let data = try? readSmallFile(folder.appending(path: "refs/\(revision)"), limit: 1024) else { return nil }
        return Commit(String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
    }

    func record(_ commit: Commit, for revision: String) throws {
        guard revision != commit.description, self.commit(of: revision) != commit else { return }
        try write(Data(commit.description.utf8), to: folder.appending(path: "refs/\(revision)"))
    }

    // MARK: Listings

    func listing(of commit: Commit) -> RepositoryListing? {
        RepositoryListing(of: commit, cachedAt: treeFile(commit))
    }

    func record(_ listing: RepositoryListing) throws {
        try write(listing.cached(), to: treeFile(listing.commit))
    }

    private func treeFile(_ commit: Commit) -> URL { folder.appending(path: "trees/\(commit).json") }

    // MARK: Snapshots

    func snapshot(of commit: Commit) -> URL {
        folder.appending(path: "snapshots/\(commit)", directoryHint: .isDirectory)
    }

    /// Whether a snapshot has a file, of the size that it is to have.
    func has(_ file: RepositoryFile, at commit: Commit) -> Bool {
        Self.size(of: snapshot(of: commit).appending(path: file.path)) == file.byteCount
    }

    /// Whether the bytes are there, in whatever snapshot.
    func hasBlob(of file: RepositoryFile) -> Bool { Self.size(of: blob(of: file)) == file.byteCount }

    /// Bytes of it that an earlier run has left.
    func partialByteCount(of file: RepositoryFile) -> Int {
        min(file.byteCount, Self.size(of: incompleteBlob(of: file)) ?? 0)
    }

    /// Puts a downloaded file into a snapshot: a relative link, so that the cache can be moved; a copy where links are not to be had.
    func link(_ file: RepositoryFile, into commit: Commit) throws {
        let place = snapshot(of: commit).appending(path: file.path)
        try Self.makeDirectory(place.deletingLastPathComponent())
        let depth = file.path.split(separator: "/").count
        let target = String(repeating: "../", count: depth + 1) + "blobs/\(file.blobName)"
        // Under another name first: whoever reads the snapshot sees the old file or the new one.
        let temporary = place.deletingLastPathComponent().appending(
            path: ".\(file.blobName.prefix(16)).\(ProcessInfo.processInfo.globallyUniqueString)")
        if copiesFiles || symlink(target, temporary.path) != 0 {
            try FileManager.default.copyItem(at: blob(of: file).resolvingSymlinksInPath(), to: temporary)
        }
        guard rename(temporary.path, place.path) == 0 else {
            let reason = FileError.systemReason
            unlink(temporary.path)
            throw FileError.cannotWrite(file: place.path, neededBytes: nil, reason: reason)
        }
    }

    // MARK: Blobs

    func blob(of file: RepositoryFile) -> URL { folder.appending(path: "blobs/\(file.blobName)") }

    func incompleteBlob(of file: RepositoryFile) -> URL { folder.appending(path: "blobs/\(file.blobName).incomplete") }

    /// So that the blob is downloaded anew.
    func removeBlob(of file: RepositoryFile) throws {
        guard unlink(blob(of: file).path) == 0 || errno == ENOENT else {
            throw FileError.cannotWrite(
                file: blob(of: file).path, neededBytes: nil, reason: FileError.systemReason)
        }
    }

    /// Makes the folder of the blobs.
    func prepare() throws { try Self.makeDirectory(folder.appending(path: "blobs")) }

    /// Checks that the volume has room.
    ///
    /// - Throws: `FileError.notEnoughSpace(directory:neededBytes:availableBytes:)`.
    func requireSpace(_ byteCount: Int) throws {
        guard let available = availableBytes(at: folder.appending(path: "blobs").path), byteCount > available else {
            return
        }
        throw FileError.notEnoughSpace(directory: folder.path, neededBytes: byteCount, availableBytes: available)
    }

    /// Waits until nobody else downloads a blob, and holds the others off.
    ///
    /// - Parameter waits: called once, before waiting begins.
    func lock(_ file: RepositoryFile, waits: () -> Void) async throws -> HubLock {
        try Self.makeDirectory(locks)
        return try await HubLock(locks.appending(path: "\(file.blobName).lock"), waits: waits)
    }

    private func write(_ data: Data, to url: URL) throws {
        try Self.makeDirectory(url.deletingLastPathComponent())
        try writeAtomically(data, to: url)
    }

    private static func makeDirectory(_ url: URL) throws {
        do {
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        } catch {
            let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? any Error
            throw FileError.cannotWrite(
                file: url.path, neededBytes: nil, reason: (cause ?? error).localizedDescription)
        }
    }

    /// Bytes of a plain file, or of one that a link leads to.
    private static func size(of url: URL) -> Int? {
        var status = stat()
        guard stat(url.path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        return Int(status.st_size)
    }
}

/// A lock on a file (flock), as Python's filelock takes it; given up when released.
final class HubLock {
    private let descriptor: Int32

    init(_ url: URL, waits: () -> Void) async throws {
        var isFirst = true
        while true {
            let descriptor = open(url.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else {
                throw FileError.cannotWrite(file: url.path, neededBytes: nil, reason: FileError.systemReason)
            }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
                // Whoever had it may have removed the file: then this is the lock of nobody.
                if Self.isSameFile(descriptor, url) {
                    self.descriptor = descriptor
                    return
                }
            } else if errno != EWOULDBLOCK && errno != EINTR {
                // A file system without locks. Bytes are compared with their hash before they count.
                self.descriptor = descriptor
                return
            } else {
                if isFirst { waits() }
                isFirst = false
            }
            close(descriptor)
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    deinit { close(descriptor) }

    private static func isSameFile(_ descriptor: Int32, _ url: URL) -> Bool {
        var held = stat()
        var named = stat()
        return fstat(descriptor, &held) == 0 && stat(url.path, &named) == 0 && held.st_ino == named.st_ino
            && held.st_dev == named.st_dev
    }
}
