import Foundation

/// Standard output was closed by its reader, as `head` does. The command ends quietly.
struct StandardOutputClosed: Error {}

/// Standard output takes no more, for a reason that its user should hear of (a full disk).
struct StandardOutputFailure: LocalizedError {
    let code: Int32

    var errorDescription: String? { "standard output cannot be written: \(String(cString: strerror(code)))" }
}

/// The process's standard streams. Commands print results here and not with Swift's `print`, which drops write errors.
enum StandardStreams {
    /// Makes writing safe: a closed reader becomes an error in place of a signal, and a stream that the parent process
    /// closed leads to `/dev/null`, so that no model file is ever opened as descriptor 1.
    static func prepare() {
        signal(SIGPIPE, SIG_IGN)
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) == -1 {
            // `open` takes the lowest free descriptor, which is this one.
            _ = open("/dev/null", O_RDWR)
        }
    }

    /// Writes `text` to standard output at once, without a buffer: a story appears as it is told.
    ///
    /// - Throws: ``StandardOutputClosed`` when the reader has gone, ``StandardOutputFailure`` otherwise.
    static func write(_ text: String) throws {
        let code = writeAll(text, to: STDOUT_FILENO)
        if code == EPIPE { throw StandardOutputClosed() }
        if code != 0 { throw StandardOutputFailure(code: code) }
    }

    /// Writes `line` and a newline to standard output.
    static func writeLine(_ line: String = "") throws {
        try write(line + "\n")
    }

    /// Writes to standard error. Nobody can be told when that fails.
    static func writeError(_ text: String) {
        _ = writeAll(text, to: STDERR_FILENO)
    }

    /// 0, or the `errno` of the write that failed.
    private static func writeAll(_ text: String, to descriptor: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let written = Foundation.write(descriptor, rest.baseAddress, rest.count)
                if written >= 0 {
                    rest = UnsafeRawBufferPointer(rebasing: rest[written...])
                } else if errno == EAGAIN {
                    // A terminal or pipe that another process made non-blocking: wait until it takes more.
                    var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    poll(&poller, 1, -1)
                } else if errno != EINTR {
                    return errno
                }
            }
            return 0
        }
    }
}
