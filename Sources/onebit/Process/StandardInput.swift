import Foundation

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
