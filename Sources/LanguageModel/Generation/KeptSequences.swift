import ModelDescription

/// A sequence that no request uses at the moment.
struct KeptSequence {
    let key: CacheKey?
    let scope: PrefixScope?
    let id: SequenceID
    let capacity: Int
    /// Tokens whose keys and values it holds.
    let tokens: [Int]
    /// Most tokens that it ever had.
    let longest: Int

    init(_ sequence: GenerationSequence) {
        key = sequence.request.cacheKey
        scope = sequence.request.prefixScope
        id = sequence.id
        capacity = sequence.capacity
        tokens = key == nil && scope == nil ? [] : Array(sequence.tokens.prefix(sequence.readCount))
        longest = sequence.longest
    }
}

/// The sequences that wait for a next request: of a conversation by its key, and those with which prompts of the same scope may begin.
/// The one that was used last is at the end; room is made at the beginning.
struct KeptSequences {
    private var sequences: [KeptSequence] = []
    private let reuse: PrefixReuse

    init(_ reuse: PrefixReuse) { self.reuse = reuse }

    var count: Int { sequences.count }
    var isEmpty: Bool { sequences.isEmpty }

    func contains(_ id: SequenceID) -> Bool { sequences.contains { $0.id == id } }

    mutating func append(_ sequence: KeptSequence) { sequences.append(sequence) }

    /// Takes out the sequence of a conversation.
    mutating func remove(_ key: CacheKey) -> KeptSequence? {
        sequences.firstIndex { $0.key == key }.map { sequences.remove(at: $0) }
    }

    mutating func remove(_ id: SequenceID) -> KeptSequence? {
        sequences.firstIndex { $0.id == id }.map { sequences.remove(at: $0) }
    }

    /// Takes out the one that was not used for the longest time.
    mutating func removeOldest() -> KeptSequence { sequences.removeFirst() }

    /// Counts a sequence as used now.
    mutating func touch(_ id: SequenceID) {
        if let sequence = remove(id) { append(sequence) }
    }

    /// The sequence that begins most like a prompt, and how many tokens they share.
    func best(for prompt: [Int], in scope: PrefixScope) -> (sequence: KeptSequence, common: Int)? {
        sequences.lazy.filter { $0.scope == scope }
            .map { (sequence: $0, common: reuse.count($0.tokens, longest: $0.longest, for: prompt)) }
            .max { $0.common < $1.common }
    }
}

/// How much of one sequence's keys and values another prompt may take over.
struct PrefixReuse {
    /// Fewer tokens cost little to read again.
    static let shortest = 16

    /// Most tokens up to which rotations do not depend on the length of the sequence; nil where they never do.
    private let longestAlike: Int?

    init(_ configuration: ModelConfiguration) {
        longestAlike =
            if case .rotary(let rotary) = configuration.structure.positions { rotary.longestAlike } else { nil }
    }

    /// Tokens at the beginning of a prompt whose keys and values a sequence has. The last one is always computed, for its
    /// logits.
    ///
    /// Where rotations depend on the length of a sequence, the keys of a conversation that has outgrown the original
    /// context are not those that the whole prompt gives, so it is read again.
    func count(_ tokens: some RandomAccessCollection<Int>, longest: Int, for prompt: [Int]) -> Int {
        if let longestAlike, max(longest, prompt.count) > longestAlike { return 0 }
        var common = 0
        for (token, known) in zip(prompt.dropLast(), tokens) {
            if token != known { break }
            common += 1
        }
        return common
    }
}
