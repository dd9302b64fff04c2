/// Distinct byte strings, numbered in the order in which they came.
///
/// The bytes lie in one array, and a hash table with linear probing finds them: 128k tokens cost a handful of allocations.
/// Bytes and not `String`, because Swift's strings are equal when they are canonically equivalent, and tokens are not.
struct ByteStringTable: Sendable {
    private var bytes: [UInt8] = []
    /// Where each string begins; one more than there are strings.
    private var starts: [Int] = [0]
    private var hashes: [Int] = []
    /// Index of a string or −1. The length is a power of two, at least twice the number of strings.
    private var slots = [Int32](repeating: -1, count: 1024)

    /// Number of strings.
    var count: Int { hashes.count }

    /// The string of an index. O(1).
    subscript(index: Int) -> ArraySlice<UInt8> { bytes[starts[index]..<starts[index + 1]] }

    /// The index of a string. O(length).
    func index(of string: UnsafeBufferPointer<UInt8>) -> Int? {
        let index = slots[slot(of: string, hash: Self.hash(string))]
        return index < 0 ? nil : Int(index)
    }

    /// Adds a string if it is new. Amortised O(length).
    mutating func insert(_ string: UnsafeBufferPointer<UInt8>) -> (index: Int, isNew: Bool) {
        let hash = Self.hash(string)
        let slot = slot(of: string, hash: hash)
        if slots[slot] >= 0 { return (Int(slots[slot]), false) }
        slots[slot] = Int32(count)
        bytes.append(contentsOf: string)
        starts.append(bytes.count)
        hashes.append(hash)
        if count * 2 > slots.count { growSlots() }
        return (count - 1, true)
    }

    private static func hash(_ string: UnsafeBufferPointer<UInt8>) -> Int {
        // Hasher is seeded per process: no file can be made to collide in it.
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(string))
        return hasher.finalize()
    }

    /// The slot that holds `string`, or the free one where it would go.
    private func slot(of string: UnsafeBufferPointer<UInt8>, hash: Int) -> Int {
        let mask = slots.count - 1
        var slot = hash & mask
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if hashes[index] == hash, self[index].elementsEqual(string) { return slot }
            slot = (slot + 1) & mask
        }
        return slot
    }

    private mutating func growSlots() {
        let mask = slots.count * 2 - 1
        slots = [Int32](repeating: -1, count: mask + 1)
        for (index, hash) in hashes.enumerated() {
            var slot = hash & mask
            while slots[slot] >= 0 { slot = (slot + 1) & mask }
            slots[slot] = Int32(index)
        }
    }
}
