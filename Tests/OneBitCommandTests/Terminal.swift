import Foundation

/// A terminal that a command reads from and a test types on.
final class Terminal {
    /// The command's end.
    let input: FileHandle
    private let keyboard: FileHandle

    // Of Linux's <asm/ioctls.h>; Glibc's module does not have them, nor posix_openpt().
    private static let unlock: UInt = 0x4004_5431
    private static let number: UInt = 0x8004_5430

    init() throws {
        let descriptor = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        keyboard = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var lock: Int32 = 0
        var index: Int32 = 0
        guard descriptor >= 0, ioctl(descriptor, Self.unlock, &lock) == 0, ioctl(descriptor, Self.number, &index) == 0
        else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .ENOTTY) }
        let other = open("/dev/pts/\(index)", O_RDWR | O_NOCTTY)
        guard other >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .ENOTTY) }
        input = FileHandle(fileDescriptor: other, closeOnDealloc: true)
    }

    func type(_ text: String) throws { try keyboard.write(contentsOf: Data(text.utf8)) }
}
