import Foundation

/// A directory in memory where an input stands as the files that a loader opens.
public struct ScratchDirectory: Sendable {
    public let url: URL

    /// Makes a directory below `ONEBIT_FUZZ_SCRATCH`, which `run.sh` sets and removes, or below the temporary one.
    public init() {
        let parent = ProcessInfo.processInfo.environment["ONEBIT_FUZZ_SCRATCH"] ?? NSTemporaryDirectory()
        url = URL(filePath: parent, directoryHint: .isDirectory)
            .appending(path: "onebit-fuzz-\(getpid())", directoryHint: .isDirectory)
        guard mkdir(url.path, 0o755) == 0 || errno == EEXIST else { fatalError("cannot make \(url.path)") }
    }

    /// Writes a file, or removes it where there are no bytes to write.
    public func put(_ bytes: UnsafeRawBufferPointer?, at name: String) {
        let path = url.appending(path: name).path
        guard let bytes else {
            unlink(path)
            return
        }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0, write(descriptor, bytes.baseAddress, bytes.count) == bytes.count else {
            fatalError("cannot write \(path)")
        }
        close(descriptor)
    }

    /// Writes a text.
    public func put(_ text: String, at name: String) {
        var text = text
        text.withUTF8 { put(UnsafeRawBufferPointer($0), at: name) }
    }
}
