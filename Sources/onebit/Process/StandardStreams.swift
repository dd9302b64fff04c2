import Foundation
import JSON

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

/// JSON for scripts: keys sorted, two-space indentation or all on one line, infinities and NaN as the strings "inf",
/// "-inf" and "nan".
func jsonText(_ value: some Encodable, onOneLine: Bool = false) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if !onOneLine { encoder.outputFormatting.insert(.prettyPrinted) }
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "inf",
        negativeInfinity: "-inf",
        nan: "nan"
    )
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

/// Writes `value` to standard output as ``jsonText(_:)`` and a newline.
func writeJSON(_ value: some Encodable) throws {
    try StandardStreams.writeLine(jsonText(value))
}

/// Text from standard input or a file, be it a terminal, a pipe or a plain file. Waiting for it ends when the command's task
/// is cancelled.
final class TextInput {
    private let descriptor: Int32
    private let name: String
    private var buffer: [UInt8] = []
    private var isAtEnd = false
    private var lineNumber = 0

    /// Standard input.
    init() {
        descriptor = STDIN_FILENO
        name = "standard input"
    }

    /// - Throws: `FileError`
    init(file: URL) throws {
        name = file.path
        // O_NONBLOCK: opening a named pipe to which nobody writes must not hang.
        descriptor = open(file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw FileError.cannotRead(file: name, reason: String(cString: strerror(errno))) }
    }

    deinit { if descriptor != STDIN_FILENO { close(descriptor) } }

    /// The next line without its end, LF or CRLF, or nil after the last.
    ///
    /// - Throws: `CancellationError` when the task is cancelled while it waits, `FileError`; after
    ///   `FileError.notUTF8` the next line can be read.
    func nextLine() throws -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = buffer[..<end]
                defer { buffer.removeFirst(end + 1) }
                lineNumber += 1
                return try text(line.last == UInt8(ascii: "\r") ? line.dropLast() : line, line: lineNumber)
            }
            if isAtEnd {
                defer { buffer = [] }
                lineNumber += 1
                return buffer.isEmpty ? nil : try text(buffer[...], line: lineNumber)
            }
            try read()
        }
    }

    /// All that is left.
    ///
    /// - Throws: `CancellationError` when the task is cancelled while it waits, `FileError`
    func readToEnd() throws -> String {
        while !isAtEnd { try read() }
        defer { buffer = [] }
        return try text(buffer[...], line: lineNumber + 1)
    }

    /// Text out of bytes; none are replaced.
    private func text(_ bytes: ArraySlice<UInt8>, line: Int) throws -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        // The first byte that decoding replaces is the first wrong one.
        let valid = zip(bytes, String(decoding: bytes, as: UTF8.self).utf8).prefix { $0 == $1 }
        throw FileError.notUTF8(file: name, line: line + valid.count { $0.0 == UInt8(ascii: "\n") })
    }

    private func read() throws {
        // Wakes up now and then to see a cancellation, which interrupts no system call.
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        repeat { try Task.checkCancellation() } while poll(&poller, 1, 100) <= 0
        var error: Int32 = 0
        let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { bytes, count in
            let found = Foundation.read(descriptor, bytes.baseAddress, bytes.count)
            error = found < 0 ? errno : 0
            count = max(0, found)
        }
        guard error == 0 || error == EAGAIN || error == EINTR else {
            throw FileError.cannotRead(file: name, reason: String(cString: strerror(error)))
        }
        buffer += chunk
        isAtEnd = chunk.isEmpty && error == 0
    }
}
