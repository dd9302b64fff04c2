import Foundation

/// Memory of a fixed number of elements, zero at first: what kernels write to.
///
/// Comes from the system in whole pages, which cost nothing until they are touched, so a long context may be reserved at
/// once. Not an array, whose address is only known inside a closure.
///
/// In debug builds a page that nobody may touch follows the last element, so that a kernel which goes beyond the end
/// crashes at that access.
final class Buffer<Element: BitwiseCopyable> {
    let pointer: UnsafeMutablePointer<Element>
    let count: Int
    private let base: UnsafeMutableRawPointer
    private let mappedByteCount: Int

    /// - Parameter alignment: of the first element, in bytes. In debug builds fewer than this many bytes lie between the
    ///   last element and the guard page.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(count: Int, alignment: Int = MemoryLayout<Element>.alignment) throws {
        #if DEBUG
            let guardPages = 1
        #else
            let guardPages = 0
        #endif
        let (byteCount, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
        let page = Int(getpagesize())
        guard !overflow, byteCount <= Int.max - 2 * page else { throw RuntimeError.outOfMemory(bytes: .max) }
        let dataByteCount = max((byteCount + page - 1) / page, 1) * page
        mappedByteCount = dataByteCount + guardPages * page
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = mmap(nil, mappedByteCount, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED,
            guardPages == 0 || mprotect(base + dataByteCount, guardPages * page, PROT_NONE) == 0
        else { throw RuntimeError.outOfMemory(bytes: byteCount) }
        self.base = base
        self.count = count
        let offset = guardPages == 0 ? 0 : (dataByteCount - byteCount) / alignment * alignment
        pointer = (base + offset).bindMemory(to: Element.self, capacity: count)
    }

    deinit { munmap(base, mappedByteCount) }
}
