import Crypto
import Foundation
import JSON
import NIOCore

/// The download of one blob: what an earlier run left of it is kept, every byte goes through the hash, and only what has the
/// hash that the hub lists gets the blob's name.
struct FileDownload {
    let file: RepositoryFile
    let repository: ModelRepository
    let url: URL
    let connection: HubConnection
    let cache: HubCache
    let report: @Sendable (HubEvent) -> Void

    /// - Throws: ``HubError``, `FileError`.
    func run() async throws {
        let lock = try await cache.lock(file) {
            report(.waiting(.zero, reason: "another program downloads \(file.path)"))
        }
        defer { withExtendedLifetime(lock) {} }
        let kept = cache.partialByteCount(of: file)
        if cache.hasBlob(of: file) {
            // Somebody else got it meanwhile.
            report(.received(bytes: file.byteCount - kept))
            return
        }
        let partial = try PartialFile(cache.incompleteBlob(of: file), of: file)
        try await receive(into: partial)
        if partial.hash != file.blobName, kept > 0 {
            // What an earlier run left was damaged. Once more, from the start.
            report(.received(bytes: -partial.byteCount))
            try partial.restart()
            try await receive(into: partial)
        }
        let hash = partial.hash
        guard hash == file.blobName else {
            partial.discard()
            throw HubError.hashMismatch(
                repository: repository.id, file: file.path, expected: file.blobName, found: hash)
        }
        try partial.commit(to: cache.blob(of: file))
    }

    /// Receives what is missing, with as many connections as it takes.
    private func receive(into partial: PartialFile) async throws {
        func interruption(_ reason: String) -> HubError {
            .interrupted(
                repository: repository.id, file: file.path, received: partial.byteCount, of: file.byteCount,
                reason: reason)
        }
        try await connection.retrying(url, exhausted: interruption) {
            guard partial.byteCount < file.byteCount else { return }
            let start = partial.byteCount
            do {
                try await receiveOnce(into: partial)
            } catch {
                throw try HubConnection.bodyFault(error, at: url, gained: partial.byteCount > start)
            }
        }
    }

    private func receiveOnce(into partial: PartialFile) async throws {
        let start = partial.byteCount
        let answer = try await connection.answer(
            to: url, headers: start > 0 ? [("Range", "bytes=\(start)-")] : [],
            silence: connection.settings.downloadTimeout, for: repository)
        let continues = answer.status == 206 && continues(answer, at: start)
        if !continues, start > 0 {
            // The server sends everything again (RFC 9110, section 14.2: it may), or another part than was asked for.
            report(.received(bytes: -start))
            try partial.restart()
        }
        guard continues || answer.status == 200 else {
            throw HubConnection.Fault.body(reason: "another part of the file than was asked for", gained: false)
        }
        let missing = file.byteCount - partial.byteCount
        if let announced = answer.headers.first(name: "Content-Length").flatMap({ Int($0) }), announced != missing {
            throw wrongSize(found: announced + partial.byteCount)
        }
        for try await buffer in answer.body {
            guard buffer.readableBytes <= file.byteCount - partial.byteCount else {
                partial.discard()
                throw wrongSize(found: partial.byteCount + buffer.readableBytes)
            }
            try buffer.withUnsafeReadableBytes(partial.append)
            report(.received(bytes: buffer.readableBytes))
        }
        guard partial.byteCount == file.byteCount else {
            throw HubConnection.Fault.body(
                reason: "it ended after \(partial.byteCount) of \(file.byteCount) bytes",
                gained: partial.byteCount > start)
        }
    }

    /// `Content-Range: bytes FIRST-LAST/SIZE`
    private func continues(_ answer: HubConnection.Answer, at start: Int) -> Bool {
        answer.headers.first(name: "Content-Range") == "bytes \(start)-\(file.byteCount - 1)/\(file.byteCount)"
    }

    private func wrongSize(found: Int) -> HubError {
        .unexpectedAnswer(
            url: url.absoluteString, reason: "\(found) bytes or more, where the hub lists \(file.byteCount)")
    }
}

/// A blob on its way: a file that grows, and the hash of what it holds.
private final class PartialFile {
    /// What the hub's ETag is of (``RepositoryFile``).
    private enum Hasher {
        case sha256(SHA256)
        case git(Insecure.SHA1)

        init(of file: RepositoryFile) {
            if file.contentHash != nil {
                self = .sha256(SHA256())
            } else {
                var sha1 = Insecure.SHA1()
                sha1.update(data: Array("blob \(file.byteCount)\0".utf8))
                self = .git(sha1)
            }
        }

        mutating func update(_ bytes: UnsafeRawBufferPointer) {
            switch self {
            case .sha256(var hash):
                hash.update(bufferPointer: bytes)
                self = .sha256(hash)
            case .git(var hash):
                hash.update(bufferPointer: bytes)
                self = .git(hash)
            }
        }

        var digest: String {
            func hexadecimal(_ digest: some Sequence<UInt8>) -> String {
                digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            }
            return switch self {
            case .sha256(let hash): hexadecimal(hash.finalize())
            case .git(let hash): hexadecimal(hash.finalize())
            }
        }
    }

    private let url: URL
    private let file: RepositoryFile
    private let descriptor: Int32
    private var hasher: Hasher
    private(set) var byteCount = 0

    /// Opens or makes the file, and reads what it has already.
    ///
    /// - Throws: `FileError`, `CancellationError`.
    init(_ url: URL, of file: RepositoryFile) throws {
        (self.url, self.file) = (url, file)
        hasher = Hasher(of: file)
        descriptor = open(url.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else { throw Self.failure(url) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { buffer.deallocate() }
        while true {
            try Task.checkCancellation()
            let count = pread(descriptor, buffer.baseAddress!, buffer.count, off_t(byteCount))
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw FileError.cannotRead(file: url.path, reason: FileError.systemReason) }
            guard count > 0 else { break }
            guard count <= file.byteCount - byteCount else {
                try restart()
                break
            }
            hasher.update(UnsafeRawBufferPointer(buffer)[..<count].rebased)
            byteCount += count
        }
    }

    deinit { close(descriptor) }

    var hash: String { hasher.digest }

    func append(_ bytes: UnsafeRawBufferPointer) throws {
        var written = 0
        while written < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress! + written, bytes.count - written, off_t(byteCount + written))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw Self.failure(url, needed: file.byteCount) }
            written += count
        }
        hasher.update(bytes)
        byteCount += written
    }

    /// Throws away what is there.
    func restart() throws {
        guard ftruncate(descriptor, 0) == 0 else { throw Self.failure(url) }
        hasher = Hasher(of: file)
        byteCount = 0
    }

    func discard() { unlink(url.path) }

    /// Brings the bytes to the disk and gives the file its name.
    func commit(to blob: URL) throws {
        guard fsync(descriptor) == 0 || errno == EINVAL, rename(url.path, blob.path) == 0 else {
            throw Self.failure(blob)
        }
    }

    private static func failure(_ url: URL, needed: Int? = nil) -> FileError {
        .cannotWrite(file: url.path, neededBytes: needed, reason: FileError.systemReason)
    }
}

extension Slice<UnsafeRawBufferPointer> {
    fileprivate var rebased: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self) }
}
