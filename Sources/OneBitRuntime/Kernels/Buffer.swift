/// Memory of its own, of a fixed number of elements, zero at first: what kernels write to.
///
/// Not an array, whose address is only known inside a closure.
final class Buffer<Element: BitwiseCopyable & AdditiveArithmetic> {
    let pointer: UnsafeMutablePointer<Element>
    let count: Int

    init(count: Int) {
        self.count = count
        pointer = .allocate(capacity: count)
        pointer.initialize(repeating: .zero, count: count)
    }

    deinit { pointer.deallocate() }
}
