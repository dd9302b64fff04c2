/// Tokens and their weights, the heaviest first out. Equal weights leave in the order of their ids.
///
/// Putting n in costs O(n), taking one out O(log n): a filter seldom wants more than a few of a vocabulary.
struct CandidateHeap {
    struct Candidate: Equatable {
        let token: Int
        let weight: Double

        func precedes(_ other: Candidate) -> Bool {
            weight != other.weight ? weight > other.weight : token < other.token
        }
    }

    private var candidates: [Candidate] = []

    /// Puts these in for what was there; the array's room is kept.
    mutating func fill(_ new: [Candidate]) {
        candidates.removeAll(keepingCapacity: true)
        candidates.append(contentsOf: new)
        for parent in stride(from: candidates.count / 2 - 1, through: 0, by: -1) { sink(parent) }
    }

    mutating func popFirst() -> Candidate? {
        guard let first = candidates.first else { return nil }
        let last = candidates.removeLast()
        if !candidates.isEmpty {
            candidates[0] = last
            sink(0)
        }
        return first
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var first = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < candidates.count && candidates[child].precedes(candidates[first]) {
                first = child
            }
            if first == parent { return }
            candidates.swapAt(parent, first)
            parent = first
        }
    }
}
