/// Which pairs of neighboring tokens merge, in which order, and into what.
///
/// A flat hash table with linear probing, keyed by both ids: one look-up touches one cache line as a rule.
struct MergeTable: Sendable {
    /// Rank of a pair that does not merge.
    static let noRank = UInt32.max

    struct Merge: Sendable {
        /// Lower ranks merge first.
        var rank: UInt32
        /// The token that the pair becomes.
        var product: UInt32
    }

    private struct Slot: Sendable {
        var key: UInt64
        var merge: Merge
    }

    private static let emptyKey = UInt64.max
    private static let empty = Slot(key: emptyKey, merge: Merge(rank: noRank, product: 0))

    private var slots = [Slot](repeating: empty, count: 1024)
    /// Drawn per table, so that no file can be made to collide in it. The order of the slots is never seen.
    private let multiplier = UInt64.random(in: .min ... .max) | 1

    /// Number of pairs.
    private(set) var count = 0

    /// Sets the merge of a pair; of two for one pair the later counts.
    mutating func insert(left: Int, right: Int, rank: UInt32, product: Int) {
        if (count + 1) * 2 > slots.count { grow() }
        let key = Self.key(left: UInt32(left), right: UInt32(right))
        let slot = slot(of: key)
        if slots[slot].key == Self.emptyKey { count += 1 }
        slots[slot] = Slot(key: key, merge: Merge(rank: rank, product: UInt32(product)))
    }

    /// Inserts every way to cut a token in two: the merges of a vocabulary that only says which tokens come first.
    ///
    /// - Parameters:
    ///   - spelling: the token's, UTF-8.
    ///   - part: the id of a part's token, where there is one that merges.
    mutating func insertCuts(
        of token: Int, spelled spelling: UnsafeBufferPointer<UInt8>, rank: UInt32,
        part: (UnsafeBufferPointer<UInt8>) -> Int?
    ) {
        var cut = 0
        while true {
            cut += utf8Length(ofLeadingByte: spelling[cut])
            guard cut < spelling.count else { return }
            if let left = part(UnsafeBufferPointer(rebasing: spelling[..<cut])),
                let right = part(UnsafeBufferPointer(rebasing: spelling[cut...]))
            {
                insert(left: left, right: right, rank: rank, product: token)
            }
        }
    }

    /// The merge of a pair; of rank `noRank` where there is none.
    @inline(__always)
    func merge(left: UInt32, right: UInt32) -> Merge {
        slots[slot(of: Self.key(left: left, right: right))].merge
    }

    /// Every pair, in no order.
    func forEachPair(_ body: (_ left: Int, _ right: Int) -> Void) {
        for slot in slots where slot.key != Self.emptyKey {
            body(Int(slot.key >> 32), Int(slot.key & 0xFFFF_FFFF))
        }
    }

    @inline(__always)
    private static func key(left: UInt32, right: UInt32) -> UInt64 { UInt64(left) << 32 | UInt64(right) }

    @inline(__always)
    private func slot(of key: UInt64) -> Int {
        let mask = slots.count - 1
        let product = key.multipliedFullWidth(by: multiplier)
        var slot = Int(truncatingIfNeeded: product.high ^ product.low) & mask
        while slots[slot].key != key, slots[slot].key != Self.emptyKey { slot = (slot + 1) & mask }
        return slot
    }

    private mutating func grow() {
        let old = slots
        slots = [Slot](repeating: Self.empty, count: old.count * 2)
        for filled in old where filled.key != Self.emptyKey { slots[slot(of: filled.key)] = filled }
    }
}

/// Merges the symbols of one word after another, reusing its memory.
///
/// The symbols are a linked list; the pairs that can merge wait in a heap by rank, then position. A word of n symbols
/// takes O(n log n), however long it is.
struct WordMerger {
    private struct Symbol {
        var id: UInt32
        var previous: Int32
        var next: Int32
        /// What this symbol and the next one merge into. A symbol that was merged into the one before has no rank.
        var pair = MergeTable.Merge(rank: MergeTable.noRank, product: 0)
    }

    private var symbols: [Symbol] = []
    /// Rank in the high half, position in the low one: the smallest is the pair to merge next.
    private var heap = MinimumHeap<UInt64>()

    /// Drops the symbols of the word before.
    mutating func removeAll() {
        symbols.removeAll(keepingCapacity: true)
        heap.removeAll()
    }

    /// Adds a symbol at the end of the word.
    mutating func append(_ id: Int) {
        let position = Int32(truncatingIfNeeded: symbols.count)
        symbols.append(Symbol(id: UInt32(truncatingIfNeeded: id), previous: position - 1, next: position + 1))
    }

    /// Merges until no pair is left that merges, and appends the ids to `output`.
    mutating func merge(by merges: MergeTable, into output: inout [Int]) {
        let count = symbols.count
        guard count > 0 else { return }
        for position in 0..<count - 1 { updatePair(at: position, merges) }
        while let key = heap.pop() {
            let position = Int(key & 0xFFFF_FFFF)
            let symbol = symbols[position]
            // The heap keeps pairs that are gone; they no longer have their rank.
            guard symbol.pair.rank == UInt32(key >> 32) else { continue }
            let absorbed = Int(symbol.next)
            let next = symbols[absorbed].next
            symbols[absorbed].pair.rank = MergeTable.noRank
            symbols[position].id = symbol.pair.product
            symbols[position].next = next
            symbols[position].pair.rank = MergeTable.noRank
            if next < count {
                symbols[Int(next)].previous = Int32(position)
                updatePair(at: position, merges)
            }
            if symbol.previous >= 0 { updatePair(at: Int(symbol.previous), merges) }
        }
        var position = 0
        while position < count {
            output.append(Int(symbols[position].id))
            position = Int(symbols[position].next)
        }
    }

    private mutating func updatePair(at position: Int, _ merges: MergeTable) {
        let next = Int(symbols[position].next)
        let pair = merges.merge(left: symbols[position].id, right: symbols[next].id)
        symbols[position].pair = pair
        if pair.rank != MergeTable.noRank { heap.push(UInt64(pair.rank) << 32 | UInt64(position)) }
    }
}
