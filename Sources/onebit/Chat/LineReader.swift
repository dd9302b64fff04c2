import Foundation

/// Lines of standard input as they come, from a terminal, a pipe or a file.
struct LineReader {
    private var buffer: [UInt8] = []
    private var isAtEnd = false

    /// The next line without its end, or nil after the last.
    ///
    /// - Throws: `CancellationError` when the process is asked to stop while it waits, `POSIXError` when standard input
    ///   cannot be read.
    mutating func next() throws -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffer.removeFirst(end + 1) }
                return text(buffer[..<end])
            }
            if isAtEnd {
                defer { buffer = [] }
                return buffer.isEmpty ? nil : text(buffer[...])
            }
            try read()
        }
    }

    private func text(_ line: ArraySlice<UInt8>) -> String {
        String(decoding: line.last == UInt8(ascii: "\r") ? line.dropLast() : line, as: UTF8.self)
    }

    private mutating func read() throws {
        // Wakes up now and then, because the signal may come on another thread and between question and wait.
        var poller = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        repeat { try Interruption.check() } while poll(&poller, 1, 100) <= 0
        let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { bytes, count in
            count = max(0, Foundation.read(STDIN_FILENO, bytes.baseAddress, bytes.count))
        }
        buffer += chunk
        isAtEnd = chunk.isEmpty
    }
}
