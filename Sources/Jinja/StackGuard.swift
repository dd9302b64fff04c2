/// Watches how much of the thread's stack a recursion takes.
///
/// Depth alone does not say it: a level takes ten times as much in a debug build, and threads have half a megabyte on some
/// systems and eight on others.
struct StackGuard {
    /// What the smallest threads (512 KiB) have room for, with the callers' share left.
    private static let maximumBytes = 320 << 10

    private let start = address()

    /// The address of something on the stack, which grows downwards.
    @inline(never)
    private static func address() -> UInt {
        var marker: UInt8 = 0
        return withUnsafeMutablePointer(to: &marker) { UInt(bitPattern: $0) }
    }

    var isExhausted: Bool {
        let address = Self.address()
        return address < start && start - address > Self.maximumBytes
    }
}
