import Foundation

/// What went wrong with a file as a file, before its contents matter.
public enum FileError: LocalizedError, Sendable, Equatable {
    /// It could not be opened, mapped or read.
    case cannotRead(file: String, reason: String)
    /// A directory, pipe or device stands where a plain file should.
    case notARegularFile(file: String)
    /// Larger than anything that this file could rightly be.
    case tooLarge(file: String, bytes: Int, limit: Int)
    /// A gzip file of more contents than this file could rightly have.
    case unzippedTooLarge(file: String, limit: Int)
    /// A gzip file that ends early, or whose checksum differs.
    case damagedGzip(file: String, reason: String)
    /// A Git LFS pointer: the text of three lines that stands for a large file until it is fetched.
    case gitLFSPointer(file: String)
    /// Bytes that are not UTF-8 text.
    case notUTF8(file: String, line: Int)
    /// A line longer than any that this file could rightly have.
    case lineTooLong(file: String, line: Int, limit: Int)
    /// A write did not go through; the unfinished file is removed. `neededBytes` is nil where its size is not the matter.
    case cannotWrite(file: String, neededBytes: Int?, reason: String)
    /// The volume has no room for what is about to be written.
    case notEnoughSpace(directory: String, neededBytes: Int, availableBytes: Int)
    /// The output exists, and replacing it was not asked for.
    case destinationExists(path: String)
    /// Something that is no directory stands where one is to be replaced.
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
            "\(file): cannot write it\(needed.map { " (\($0) bytes)" } ?? ""): \(reason)."
        case .notEnoughSpace(let directory, let needed, let available):
            "\(directory): \(needed) bytes are needed and \(available) are free. Free some space or write elsewhere."
        case .destinationExists(let path):
            "\(path) exists. Name another output, or ask for it to be overwritten."
        case .destinationNotADirectory(let path, let found):
            "\(path) is \(found), which is not replaced by a directory. Name another output, or remove it first."
        case .destinationIsSource(let path):
            "\(path) is the input (or holds it). Name another output."
        }
    }

    /// The meaning of the calling thread's last failed system call.
    package static var systemReason: String { String(cString: strerror(errno)) }
}
