import Foundation

/// Memory of its own, of a fixed number of elements, zero at first: what kernels write to.
///
/// Comes from the system in whole pages, which cost nothing until they are touched, so room for a long context may be
/// asked for at once. Not an array, whose address is only known inside a closure.
final class Buffer<Element: BitwiseCopyable> {
    let pointer: UnsafeMutablePointer<Element>
    let count: Int
    private let byteCount: Int

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(count: Int) throws {
        let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard !overflow, let base = mmap(nil, max(bytes, 1), PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED
        else { throw RuntimeError.outOfMemory(bytes: overflow ? .max : bytes) }
        self.count = count
        byteCount = max(bytes, 1)
        pointer = base.bindMemory(to: Element.self, capacity: count)
    }

    deinit { munmap(pointer, byteCount) }
}
