import Foundation

/// Reads a file of lines as it grows, from its begin, whole lines only: a last line without its end is waited for.
///
/// A file that another one takes the place of, or that is cut or written anew, is read from its begin again.
package struct LineFollower {
    /// What has come since the last call.
    package struct Change {
        /// Whether the lines are the first of a file that is not the one before: what was read before no longer holds.
        package fileprivate(set) var isFromBegin = false
        /// Without their ends; empty lines are left out.
        package fileprivate(set) var lines: [Data] = []
        /// Whether there is more to be read at once.
        package fileprivate(set) var hasMore = false
        /// When the file was last written to.
        package fileprivate(set) var modified = Date.distantPast
    }

    /// A line that is longer is no line of a log; its first bytes stand for it.
    static let longestLine = 1 << 20
    /// Bytes that one call reads at the most.
    private static let chunk = 8 << 20

    /// What tells one file, and one state of it, from another.
    private struct State: Equatable {
        let device: UInt64
        let inode: UInt64
        var size: Int
        let seconds: Int
        let nanoseconds: Int

        init(_ status: stat) {
            (device, inode, size) = (UInt64(status.st_dev), UInt64(status.st_ino), Int(status.st_size))
            #if os(Linux)
                (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
            #else
                (seconds, nanoseconds) = (status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec)
            #endif
        }
    }

    private let path: String
    private var state: State?
    /// Where the first line that has not been handed out begins.
    private var position = 0
    /// The bytes before it, by which a file that was written anew in its place is known.
    private var tail = Data()
    /// Whether what is there is the rest of a line that is too long.
    private var isSkipping = false

    package init(_ file: URL) { path = file.path }

    /// Reads what is new; nil where there is no such file.
    package mutating func read() -> Change? {
        // O_NONBLOCK: a pipe of that name must not hang.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        let found = State(status)
        var change = Change()
        change.modified = Date(timeIntervalSince1970: Double(found.seconds) + Double(found.nanoseconds) * 1e-9)
        if found == state { return change }
        if let state {
            let isSame = state.device == found.device && state.inode == found.inode && found.size >= position
            if !isSame || bytes(of: descriptor, at: position - tail.count, count: tail.count) != tail {
                (position, tail, isSkipping) = (0, Data(), false)
                change.isFromBegin = true
            }
        } else {
            change.isFromBegin = true
        }
        let bytes = bytes(of: descriptor, at: position, count: min(Self.chunk, found.size - position))
        let consumed = take(bytes, into: &change)
        position += consumed
        tail = (tail + bytes.prefix(consumed).suffix(64)).suffix(64)
        // A chunk that is full says nothing of what is behind it.
        change.hasMore = consumed > 0 && bytes.count == Self.chunk
        state = found
        // Of a file that has not been read to its end no later state is the same.
        if change.hasMore { state?.size = -1 }
        return change
    }

    /// - Returns: How many bytes the whole lines have.
    private mutating func take(_ bytes: Data, into change: inout Change) -> Int {
        var begin = bytes.startIndex
        while let end = bytes[begin...].firstIndex(of: UInt8(ascii: "\n")) {
            if isSkipping {
                isSkipping = false
            } else if end > begin {
                let line = bytes[begin..<end]
                change.lines.append(Data(line.count > Self.longestLine ? line.prefix(64) : line))
            }
            begin = end + 1
        }
        if bytes.endIndex - begin > Self.longestLine {
            if !isSkipping { change.lines.append(Data(bytes[begin...].prefix(64))) }
            isSkipping = true
            begin = bytes.endIndex
        }
        return begin - bytes.startIndex
    }

    private func bytes(of descriptor: Int32, at position: Int, count: Int) -> Data {
        var data = Data(count: max(0, count))
        let read = data.withUnsafeMutableBytes { buffer in
            var filled = 0
            while filled < buffer.count {
                let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])
                let read = pread(descriptor, rest.baseAddress!, rest.count, off_t(position + filled))
                if read < 0 && errno == EINTR { continue }
                if read <= 0 { break }
                filled += read
            }
            return filled
        }
        return data.prefix(read)
    }
}
