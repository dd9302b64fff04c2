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

/// Standard input: a terminal, a pipe or a file. Waiting for it ends when the command's task is cancelled.
struct StandardInput {
    private var buffer: [UInt8] = []
    private var isAtEnd = false
    private var lineNumber = 0

    /// The next line without its end, LF or CRLF, or nil after the last.
    ///
    /// - Throws: `CancellationError` when the task is cancelled while it waits, ``TextInputError`` for a line that is not
    ///   UTF-8.
    mutating func nextLine() throws -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(buffer[..<end])
                buffer.removeFirst(end + 1)
                return try text(ofLine: line)
            }
            if isAtEnd {
                defer { buffer = [] }
                return buffer.isEmpty ? nil : try text(ofLine: buffer)
            }
            try read()
        }
    }

    /// All that is left.
    ///
    /// - Throws: `CancellationError` when the task is cancelled while it waits, ``TextInputError``
    mutating func readToEnd() throws -> String {
        while !isAtEnd { try read() }
        defer { buffer = [] }
        return try TextInputError.text(buffer, of: "standard input")
    }

    private mutating func text(ofLine line: [UInt8]) throws -> String {
        lineNumber += 1
        return try TextInputError.text(
            line.last == UInt8(ascii: "\r") ? line.dropLast() : line, of: "line \(lineNumber) of standard input")
    }

    private mutating func read() throws {
        // Wakes up now and then to see a cancellation, which interrupts no system call.
        var poller = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        repeat { try Task.checkCancellation() } while poll(&poller, 1, 100) <= 0
        let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { bytes, count in
            count = max(0, Foundation.read(STDIN_FILENO, bytes.baseAddress, bytes.count))
        }
        buffer += chunk
        isAtEnd = chunk.isEmpty
    }
}

/// Text that a command was given and cannot be read as text.
enum TextInputError: LocalizedError, Equatable {
    /// Byte `offset`, counted from 0, begins a sequence that UTF-8 does not have.
    case notUTF8(source: String, offset: Int)

    /// Text out of bytes; none are replaced.
    static func text(_ bytes: some Collection<UInt8>, of source: String) throws -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        // Replacement characters stand for the bytes that are wrong: what comes before the first of them is right.
        let repaired = Array(String(decoding: bytes, as: UTF8.self).utf8)
        let offset = zip(bytes, repaired).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? repaired.count
        throw notUTF8(source: source, offset: offset)
    }

    var errorDescription: String? {
        switch self {
        case .notUTF8(let source, let offset): "\(source) is not UTF-8 text: byte \(offset) does not belong there"
        }
    }

    var recoverySuggestion: String? { "Convert it, for example with `iconv -f WINDOWS-1252 -t UTF-8`." }
}
