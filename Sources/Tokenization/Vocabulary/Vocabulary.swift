/// The tokens of a model, found by id and by spelling.
///
/// Spellings are bytes in one array, and a hash table of positions stands beside it: a vocabulary of 128k tokens costs
/// a handful of allocations. Bytes and not `String`, because Swift's strings are equal when they are canonically
/// equivalent, and tokens are not.
struct Vocabulary: Sendable {
    /// Ids above this are refused: the largest vocabularies in use have about 260k tokens, and tables are as long as
    /// the largest id.
    static let maximumID = (1 << 22) - 1

    /// Why a token could not be added.
    enum Refusal: Error {
        case idOutOfRange
        case spellingTaken(byID: Int)
        case idTaken
    }

    /// All spellings, one after the other.
    private var spellings: [UInt8] = []
    /// Where the spelling of each entry begins; one more than there are entries.
    private var starts: [Int] = [0]
    /// Id of each entry.
    private var ids: [Int32] = []
    private var hashes: [Int] = []
    /// Entry of each id, or −1.
    private var entries: [Int32] = []
    /// Hash table with linear probing: entry or −1. Its length is a power of two, more than twice the entries.
    private var slots = [Int32](repeating: -1, count: 1024)

    /// Number of tokens.
    var count: Int { ids.count }
    /// One more than the largest id.
    var upperBound: Int { entries.count }

    /// Adds a token. Amortised O(length).
    mutating func insert(_ spelling: some Collection<UInt8>, id: Int) throws(Refusal) {
        guard 0...Self.maximumID ~= id else { throw .idOutOfRange }
        let start = spellings.count
        spellings.append(contentsOf: spelling)
        let (hash, slot) = spellings.withUnsafeBufferPointer { bytes in
            let bytes = UnsafeBufferPointer(rebasing: bytes[start...])
            let hash = Self.hash(bytes)
            return (hash, self.slot(of: bytes, hash: hash))
        }
        let known = slots[slot]
        guard known < 0, id >= entries.count || entries[id] < 0 else {
            spellings.removeSubrange(start...)
            throw known < 0 ? .idTaken : .spellingTaken(byID: Int(ids[Int(known)]))
        }
        if id >= entries.count {
            entries.append(contentsOf: repeatElement(-1, count: id + 1 - entries.count))
        }
        entries[id] = Int32(ids.count)
        slots[slot] = Int32(ids.count)
        ids.append(Int32(id))
        starts.append(spellings.count)
        hashes.append(hash)
        if ids.count * 2 > slots.count { growSlots() }
    }

    /// The id of the token spelled `bytes`. O(length).
    func id(of bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        let entry = slots[slot(of: bytes, hash: Self.hash(bytes))]
        return entry < 0 ? nil : Int(ids[Int(entry)])
    }

    /// The id of the token spelled `bytes`. O(length).
    func id(of bytes: some Sequence<UInt8>) -> Int? {
        Array(bytes).withUnsafeBufferPointer { id(of: $0) }
    }

    /// The spelling of token `id`. O(1).
    func spelling(of id: Int) -> ArraySlice<UInt8>? {
        guard entries.indices.contains(id), entries[id] >= 0 else { return nil }
        let entry = Int(entries[id])
        return spellings[starts[entry]..<starts[entry + 1]]
    }

    private static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        // Hasher is seeded per process: no file can be made to collide in it.
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
        return hasher.finalize()
    }

    /// The slot that holds `bytes`, or the free one where it would go.
    private func slot(of bytes: UnsafeBufferPointer<UInt8>, hash: Int) -> Int {
        let mask = slots.count - 1
        var slot = hash & mask
        while slots[slot] >= 0 {
            let entry = Int(slots[slot])
            if hashes[entry] == hash, spellings[starts[entry]..<starts[entry + 1]].elementsEqual(bytes) { return slot }
            slot = (slot + 1) & mask
        }
        return slot
    }

    private mutating func growSlots() {
        let mask = slots.count * 2 - 1
        slots = [Int32](repeating: -1, count: mask + 1)
        for (entry, hash) in hashes.enumerated() {
            var slot = hash & mask
            while slots[slot] >= 0 { slot = (slot + 1) & mask }
            slots[slot] = Int32(entry)
        }
    }
}
