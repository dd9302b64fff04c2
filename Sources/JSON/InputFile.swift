import CZlib
import Foundation

/// A plain file that is read front to back, and unzipped (gzip, RFC 1952) on the way where it is zipped.
package final class InputFile {
    private let path: String
    private let descriptor: Int32
    private let gunzip: Gunzip?
    /// Bytes of the file as it is stored.
    package let byteCount: Int

    /// - Parameter unzips: whether the contents of a gzip file are read, or its own bytes.
    /// - Throws: ``FileError``
    package init(_ url: URL, unzips: Bool = true) throws {
        path = url.path
        let status: stat
        (descriptor, status) = try openRegularFile(path)
        byteCount = Int(status.st_size)
        do {
            let isGzip = try prefix(ofFile: descriptor, path: path, count: 2) == [0x1F, 0x8B]
            gunzip = unzips && isGzip ? try Gunzip(file: path) : nil
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    /// Stored bytes that have been read so far: how far a pass through the file has come, also where it is zipped.
    package var position: Int { Int(lseek(descriptor, 0, SEEK_CUR)) }

    /// Reads the next bytes.
    ///
    /// - Returns: how many; fewer than there is room for only at the end, 0 behind it.
    /// - Throws: ``FileError``
    package func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        if let gunzip { return try gunzip.inflate(into: buffer, from: readStored) }
        return try readStored(into: buffer)
    }

    /// Reads what is left.
    ///
    /// - Parameter limit: bytes that it may have; a gzip file of a megabyte can unfold to a gigabyte.
    /// - Throws: ``FileError``
    fileprivate func readAll(limit: Int) throws -> Data {
        var data = Data()
        let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 1)
        defer { chunk.deallocate() }
        while true {
            let count = try read(into: chunk)
            guard count > 0 else { return data }
            guard count <= limit - data.count else {
                if gunzip != nil { throw FileError.unzippedTooLarge(file: path, limit: limit) }
                throw FileError.tooLarge(file: path, bytes: Int(lseek(descriptor, 0, SEEK_END)), limit: limit)
            }
            data.append(contentsOf: chunk[..<count])
        }
    }

    private func readStored(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var filled = 0
        while filled < buffer.count {
            let count = Foundation.read(descriptor, buffer.baseAddress! + filled, buffer.count - filled)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw FileError.cannotRead(file: path, reason: FileError.systemReason) }
            if count == 0 { break }
            filled += count
        }
        return filled
    }
}

/// Reads a small file whole, as it is stored: a configuration, an index.
///
/// - Throws: ``FileError`` when it is not a plain file, longer than `limit` bytes, or unreadable.
package func readSmallFile(_ url: URL, limit: Int = 64 << 20) throws -> Data {
    try InputFile(url, unzips: false).readAll(limit: limit)
}

/// The contents of a file, unzipped where it is zipped.
///
/// - Parameter limit: bytes that the contents may have.
/// - Throws: ``FileError``
package func readContents(of url: URL, limit: Int) throws -> Data {
    try InputFile(url).readAll(limit: limit)
}

/// A file as text, unzipped where it is zipped.
///
/// - Parameter limit: bytes that the text may have.
/// - Throws: ``FileError``, ``FileError/notUTF8(file:line:)`` among it.
package func readText(of url: URL, limit: Int = 8 << 30) throws -> String {
    let data = try readContents(of: url, limit: limit)
    guard let text = String(validating: data, as: UTF8.self) else {
        let valid = data.withUnsafeBytes { JSONReader.validPrefixLength(of: $0.bindMemory(to: UInt8.self)) }
        let line = 1 + data.prefix(valid).count { $0 == UInt8(ascii: "\n") }
        throw FileError.notUTF8(file: url.path, line: line)
    }
    return text
}

/// Opens a plain file for reading; the caller closes the descriptor.
///
/// - Throws: ``FileError``; ``FileError/gitLFSPointer(file:)`` where the file was never downloaded.
package func openRegularFile(_ path: String) throws -> (descriptor: Int32, status: stat) {
    // O_NONBLOCK: opening a pipe that nobody writes to must not hang.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw FileError.cannotRead(file: path, reason: FileError.systemReason) }
    do {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw FileError.cannotRead(file: path, reason: FileError.systemReason)
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw FileError.notARegularFile(file: path) }
        // A pointer has at most 1024 bytes (Git LFS specification, v1).
        let pointer = Array("version https://git-lfs.github.com/spec/".utf8)
        if status.st_size <= 1024, try prefix(ofFile: descriptor, path: path, count: pointer.count) == pointer {
            throw FileError.gitLFSPointer(file: path)
        }
        return (descriptor, status)
    } catch {
        close(descriptor)
        throw error
    }
}

/// The first bytes of an open file; the reading position stays.
private func prefix(ofFile descriptor: Int32, path: String, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let found = pread(descriptor, &bytes, count, 0)
    guard found >= 0 else { throw FileError.cannotRead(file: path, reason: FileError.systemReason) }
    return Array(bytes.prefix(found))
}

/// Inflates a gzip file, all its members one after the other, their checksums compared.
private final class Gunzip {
    private let file: String
    /// At an address of its own: zlib compares it with the one that it was set up at.
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 1)
    private var isBetweenMembers = false

    init(file: String) throws {
        self.file = file
        stream.initialize(to: z_stream())
        let gzipOnly: Int32 = 16
        guard
            inflateInit2_(stream, MAX_WBITS + gzipOnly, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { throw FileError.cannotRead(file: file, reason: "zlib does not start") }
    }

    deinit {
        inflateEnd(stream)  // does nothing where it was never set up
        stream.deallocate()
        input.deallocate()
    }

    /// Fills `buffer` from stored bytes that `read` gives; fewer at the end alone.
    func inflate(
        into buffer: UnsafeMutableRawBufferPointer, from read: (UnsafeMutableRawBufferPointer) throws -> Int
    ) throws -> Int {
        var filled = 0
        while filled < buffer.count {
            if stream.pointee.avail_in == 0 {
                stream.pointee.avail_in = UInt32(try read(input))
                stream.pointee.next_in = input.baseAddress!.assumingMemoryBound(to: UInt8.self)
                if stream.pointee.avail_in == 0 {
                    guard isBetweenMembers else { throw damaged("it ends early") }
                    break
                }
            }
            if isBetweenMembers {
                inflateReset(stream)
                isBetweenMembers = false
            }
            let room = min(buffer.count - filled, 1 << 30)  // zlib counts bytes in 32 bits
            stream.pointee.next_out = (buffer.baseAddress! + filled).assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_out = UInt32(room)
            let status = CZlib.inflate(stream, Z_NO_FLUSH)
            filled += room - Int(stream.pointee.avail_out)
            switch status {
            case Z_OK, Z_BUF_ERROR: continue
            case Z_STREAM_END: isBetweenMembers = true
            default: throw damaged(stream.pointee.msg.map { String(cString: $0) } ?? "zlib error \(status)")
            }
        }
        return filled
    }

    private func damaged(_ reason: String) -> FileError { .damagedGzip(file: file, reason: reason) }
}

/// What went wrong with a file as a file, before its contents matter.
public enum FileError: LocalizedError, Sendable, Equatable {
    /// It could not be opened, mapped or read.
    case cannotRead(file: String, reason: String)
    /// A directory, pipe or device where a plain file is expected.
    case notARegularFile(file: String)
    /// Larger than any valid file of its kind.
    case tooLarge(file: String, bytes: Int, limit: Int)
    /// A gzip file with more contents than any valid file of its kind.
    case unzippedTooLarge(file: String, limit: Int)
    /// A gzip file that ends early, or whose checksum differs.
    case damagedGzip(file: String, reason: String)
    /// A Git LFS pointer: a text of three lines in place of a large file that was not downloaded.
    case gitLFSPointer(file: String)
    /// Bytes that are not UTF-8 text.
    case notUTF8(file: String, line: Int)
    /// A line longer than any in a valid file of its kind.
    case lineTooLong(file: String, line: Int, limit: Int)
    /// A write did not go through; the unfinished file is removed. `neededBytes` is nil where its size is not the matter.
    case cannotWrite(file: String, neededBytes: Int?, reason: String)
    /// The volume has no room for what is about to be written.
    case notEnoughSpace(directory: String, neededBytes: Int, availableBytes: Int)
    /// The output exists, and replacing it was not asked for.
    case destinationExists(path: String)
    /// The directory to be replaced is a file, a link or something else.
    case destinationNotADirectory(path: String, found: String)
    /// Writing there would destroy what is being read.
    case destinationIsSource(path: String)

    public var errorDescription: String? {
        switch self {
        case .cannotRead(let file, let reason):
            "\(file): cannot read it: \(reason)."
        case .notARegularFile(let file):
            "\(file): expected a plain file, found something else."
        case .tooLarge(let file, let bytes, let limit):
            "\(file): \(bytes) bytes; expected at most \(limit)."
        case .unzippedTooLarge(let file, let limit):
            "\(file): more than \(limit) bytes when unzipped; expected at most that."
        case .damagedGzip(let file, let reason):
            "\(file): damaged gzip: \(reason). Download the file again."
        case .gitLFSPointer(let file):
            "\(file): a Git LFS pointer, not the file itself. Download the file, for example with \"git lfs pull\"."
        case .notUTF8(let file, let line):
            "\(file), line \(line): not UTF-8 text. Convert the file to UTF-8."
        case .lineTooLong(let file, let line, let limit):
            "\(file), line \(line): longer than \(limit) bytes."
        case .cannotWrite(let file, let needed, let reason):
            "\(file): cannot write it\(needed.map { " (\($0) bytes)" } ?? ""): \(reason.trimmingCharacters(in: ["."]))."
        case .notEnoughSpace(let directory, let needed, let available):
            "\(directory): \(needed) bytes are needed and \(available) are free. Free some space or write elsewhere."
        case .destinationExists(let path):
            "\(path) already exists. Name another output, or ask for it to be replaced."
        case .destinationNotADirectory(let path, let found):
            "\(path) is \(found), which is not replaced by a directory. Name another output, or remove it first."
        case .destinationIsSource(let path):
            "\(path) is the input (or holds it). Name another output."
        }
    }

    /// The meaning of the calling thread's last failed system call.
    package static var systemReason: String { String(cString: strerror(errno)) }
}
