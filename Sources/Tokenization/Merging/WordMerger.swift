/// Merges the symbols of one word after another, reusing its memory.
///
/// The symbols are a linked list; the pairs that can merge wait in a heap by rank, then position. A word of n symbols
/// takes O(n log n), however long it is.
struct WordMerger {
    private struct Symbol {
        var id: UInt32
        var previous: Int32
        var next: Int32
        /// What this symbol and the next one merge into. A symbol that was swallowed has no rank.
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
            let swallowed = Int(symbol.next)
            let next = symbols[swallowed].next
            symbols[swallowed].pair.rank = MergeTable.noRank
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
