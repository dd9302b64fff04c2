import Foundation
import JSON

/// An output directory that appears whole or not at all.
///
/// Everything is written under a hidden sibling name and renamed at the end, so a stage that is killed leaves nothing
/// that looks finished. What killed runs on this machine left is removed when the same output is staged again.
package struct StagedDirectory: Sendable {
    /// Where the result will be.
    package let destination: URL
    /// Where to write.
    package let url: URL
    private let overwrite: Bool

    /// Makes the temporary directory, and the destination's parents.
    ///
    /// - Throws: `FileError`: `destinationExists` when there is something at `destination` and `overwrite` is false,
    ///   `destinationNotADirectory` when it is no directory, be it a link to one; others when the directory cannot be made.
    package init(destination: URL, overwrite: Bool) throws {
        let destination = destination.absoluteURL.standardizedFileURL
        let parent = destination.deletingLastPathComponent()
        _ = try Self.canReplace(destination, overwrite: overwrite)
        do {
            try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
        } catch {
            throw FileError.cannotWrite(file: parent.path, neededBytes: nil, reason: error.localizedDescription)
        }
        let prefix = Self.temporaryPrefix(of: destination)
        Self.removeAbandoned(in: parent, prefix: prefix)
        self.destination = destination
        self.overwrite = overwrite
        url = parent.appending(
            path: "\(prefix)\(getpid())-\(UInt32.random(in: 0 ... .max))",
            directoryHint: .isDirectory
        )
        guard mkdir(url.path, 0o755) == 0 else {
            throw FileError.cannotWrite(file: url.path, neededBytes: nil, reason: FileError.systemReason)
        }
    }

    /// Runs `body` on a staged directory and commits; discards when it throws.
    ///
    /// - Throws: what `init`, `body` and ``commit()`` throw.
    package static func write<Result>(
        to destination: URL,
        overwrite: Bool,
        _ body: (URL) throws -> Result
    ) throws -> Result {
        let staged = try StagedDirectory(destination: destination, overwrite: overwrite)
        do {
            let result = try body(staged.url)
            try staged.commit()
            return result
        } catch {
            staged.discard()
            throw error
        }
    }

    /// Moves the directory to its destination.
    ///
    /// With `overwrite` the old directory is removed only after the new one is in its place.
    ///
    /// - Throws: `FileError`; the destination is then as it was, and the staged directory still there.
    package func commit() throws {
        try synchronizeDirectory(url.path)
        if try Self.canReplace(destination, overwrite: overwrite) {
            try replace()
        } else {
            guard rename(url.path, destination.path) == 0 else { throw failure }
        }
        try synchronizeDirectory(destination.deletingLastPathComponent().path)
    }

    /// Removes the staged directory and what was written.
    package func discard() {
        try? FileManager.default.removeItem(at: url)
    }

    private var failure: FileError {
        .cannotWrite(file: destination.path, neededBytes: nil, reason: FileError.systemReason)
    }

    /// Swaps old and new in one step where the file system can, else in two with the way back kept open.
    private func replace() throws {
        if let exchange = Self.exchange, exchange(AT_FDCWD, url.path, AT_FDCWD, destination.path, 2) == 0 {
            try? FileManager.default.removeItem(at: url)
            return
        }
        let aside = url.path + "-old"
        guard rename(destination.path, aside) == 0 else { throw failure }
        guard rename(url.path, destination.path) == 0 else {
            let failure = failure
            rename(aside, destination.path)
            throw failure
        }
        try? FileManager.default.removeItem(atPath: aside)
    }

    private typealias Rename =
        @convention(c) (CInt, UnsafePointer<CChar>, CInt, UnsafePointer<CChar>, CUnsignedInt) -> CInt

    /// `renameat2`, which Swift's Glibc module hides behind `_GNU_SOURCE`; flag 2 is `RENAME_EXCHANGE`.
    private static let exchange: Rename? = dlsym(nil, "renameat2").map { unsafeBitCast($0, to: Rename.self) }

    /// Whether there is a directory to replace; false where there is nothing.
    ///
    /// A directory is never a newer version of a plain file; and replacing a link would leave its target unchanged, though it
    /// would look replaced.
    private static func canReplace(_ destination: URL, overwrite: Bool) throws -> Bool {
        var status = stat()
        guard lstat(destination.path, &status) == 0 else { return false }
        guard overwrite else { throw FileError.destinationExists(path: destination.path) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: return true
        case S_IFLNK: throw FileError.destinationNotADirectory(path: destination.path, found: "a symbolic link")
        case S_IFREG: throw FileError.destinationNotADirectory(path: destination.path, found: "a file")
        default: throw FileError.destinationNotADirectory(path: destination.path, found: "a device, pipe or socket")
        }
    }

    /// The host is part of the name, because process numbers of other machines mean nothing here.
    static func temporaryPrefix(of destination: URL) -> String {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        let host = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return ".\(destination.lastPathComponent).partial-\(host)-"
    }

    static func removeAbandoned(in parent: URL, prefix: String) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent.path)) ?? []
        for name in names where name.hasPrefix(prefix) {
            // "PID-RANDOM", or "PID-RANDOM-old" for a directory that was moved aside: that one is the user's, kept.
            let parts = name.dropFirst(prefix.count).split(separator: "-")
            guard parts.count == 2, let process = pid_t(parts[0]), kill(process, 0) != 0, errno == ESRCH else {
                continue
            }
            try? FileManager.default.removeItem(at: parent.appending(path: name))
        }
    }
}
