import Foundation

/// Memory that ends where a page begins that nobody may touch: an access beyond its last element ends the process.
final class GuardedMemory<Element: BitwiseCopyable> {
    let pointer: UnsafeMutablePointer<Element>
    let count: Int
    private let base: UnsafeMutableRawPointer
    private let mappedBytes: Int

    /// - Parameter alignment: of the first element; up to this many bytes, less one, lie between the last element and the
    ///   guard page.
    init(count: Int, fill: Element, alignment: Int = MemoryLayout<Element>.alignment) {
        self.count = count
        let page = Int(getpagesize())
        let bytes = max(count * MemoryLayout<Element>.stride, 1)
        let dataBytes = (bytes + page - 1) / page * page
        mappedBytes = dataBytes + page
        base = mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        precondition(base != MAP_FAILED && mprotect(base + dataBytes, page, PROT_NONE) == 0)
        let offset = (dataBytes - count * MemoryLayout<Element>.stride) / alignment * alignment
        pointer = (base + offset).bindMemory(to: Element.self, capacity: count)
        pointer.initialize(repeating: fill, count: count)
    }

    convenience init(_ values: [Element], alignment: Int = MemoryLayout<Element>.alignment) {
        self.init(count: values.count, fill: values[0], alignment: alignment)
        pointer.update(from: values, count: values.count)
    }

    deinit { munmap(base, mappedBytes) }

    var array: [Element] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}
