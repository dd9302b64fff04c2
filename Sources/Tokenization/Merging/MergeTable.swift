/// Which pairs of neighbouring tokens merge, in which order, and into what.
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
