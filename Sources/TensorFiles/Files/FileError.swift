import Foundation

/// What went wrong with a file as a file, before its contents matter.
public enum FileError: LocalizedError, Sendable, Equatable {
    /// It could not be opened, mapped or read.
    case cannotRead(file: String, reason: String)
    /// A directory, pipe or device stands where a plain file should.
    case notARegularFile(file: String)
    /// Larger than anything that this file could rightly be.
    case tooLarge(file: String, bytes: Int, limit: Int)
    /// A write did not go through; the unfinished file is removed.
    case cannotWrite(file: String, neededBytes: Int, reason: String)
    /// The volume has no room for what is about to be written.
    case notEnoughSpace(directory: String, neededBytes: Int, availableBytes: Int)
    /// The output is there already and `--overwrite` was not given.
    case destinationExists(path: String)
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
        case .cannotWrite(let file, let needed, let reason):
            "\(file): cannot write it (needs \(needed) bytes): \(reason)."
        case .notEnoughSpace(let directory, let needed, let available):
            "\(directory): \(needed) bytes are needed and \(available) are free. Free some space or write elsewhere."
        case .destinationExists(let path):
            "\(path) exists. Name another output, or give --overwrite to replace it."
        case .destinationIsSource(let path):
            "\(path) is the input (or holds it). Name another output."
        }
    }

    /// The meaning of the calling thread's last failed system call.
    static var systemReason: String { String(cString: strerror(errno)) }
}
