import Foundation

/// Draws the next token from logits:
///
///     repetition penalty → softmax(logits / temperature) → top-k → top-p → min-p → draw
///
/// Each filter works on what the one before it left. Sums run in double precision and in a fixed order, and ties go to
/// the lower id, so the same seed and logits give the same token. Its arrays are kept from token to token.
public struct Sampler: Sendable {
    private let parameters: GenerateParameters
    private var generator: SeededGenerator
    /// The last `repetitionContextSize` tokens.
    private var recent: [Int] = []
    private var penalized: [Float] = []
    private var heap = CandidateHeap()
    private var kept: [Candidate] = []
    private var softmax = SoftmaxDraw()

    /// - Parameters:
    ///   - parameters: what to filter by, and the seed.
    ///   - prompt: tokens that the repetition penalty counts as having occurred.
    /// - Throws: ``GenerationError/invalidParameter(name:value:expected:)``
    public init(_ parameters: GenerateParameters, prompt: [Int] = []) throws {
        try parameters.validate()
        self.parameters = parameters
        generator = SeededGenerator(seed: parameters.seed)
        recent = prompt.suffix(parameters.repetitionContextSize)
        recent.reserveCapacity(min(parameters.repetitionContextSize, 4096) + 1)
    }

    /// The next token, by its place in `logits`, which must not be empty. NaN counts as −∞.
    public mutating func next(logits: [Float]) -> Int {
        logits.withUnsafeBufferPointer { next(logits: $0) }
    }

    /// As for an array of logits.
    public mutating func next(logits: UnsafeBufferPointer<Float>) -> Int {
        guard parameters.repetitionPenalty != 1 else { return draw(logits) }
        // Taken out and put back, so that the copy on write has nothing to copy.
        var values = penalized
        penalized = []
        penalize(logits, into: &values)
        let token = values.withUnsafeBufferPointer { draw($0) }
        penalized = values
        recent.append(token)
        recent.removeFirst(max(0, recent.count - parameters.repetitionContextSize))
        return token
    }

    private func penalize(_ logits: UnsafeBufferPointer<Float>, into values: inout [Float]) {
        values.removeAll(keepingCapacity: true)
        values.append(contentsOf: logits)
        for (index, token) in recent.enumerated()
        where logits.indices.contains(token) && !recent[..<index].contains(token) {
            if values[token] > 0 {
                values[token] /= parameters.repetitionPenalty
            } else {
                values[token] *= parameters.repetitionPenalty
            }
        }
    }

    /// Passes over the random numbers of so many draws: an earlier run made them.
    mutating func skip(_ draws: Int) {
        for _ in 0..<draws { _ = generator.nextUnit() }
    }

    private mutating func draw(_ logits: UnsafeBufferPointer<Float>) -> Int {
        let likeliest = Self.likeliest(logits)
        // A temperature so low that the quotient is infinite is greedy too.
        let inverse = 1 / Double(parameters.temperature)
        guard inverse.isFinite, logits[likeliest].isFinite else { return likeliest }
        if parameters.keepsAll, Float(inverse).isFinite {
            return softmax.token(
                logits, largest: logits[likeliest], inverse: Float(inverse), unit: generator.nextUnit()) ?? likeliest
        }
        // Weights relative to the likeliest token's, so none overflows.
        let largest = Double(logits[likeliest])
        kept.removeAll(keepingCapacity: true)
        for (token, logit) in logits.enumerated() {
            let weight = logit.isNaN ? 0 : exp((Double(logit) - largest) * inverse)
            kept.append(Candidate(token: token, weight: weight))
        }
        filter()
        var total = 0.0
        // What falls to min-p would fall after top-k and top-p too; but it counts in top-p's sum.
        for candidate in kept where candidate.weight >= Double(parameters.minP) { total += candidate.weight }
        var rest = generator.nextUnit() * total
        var last = likeliest
        for candidate in kept where candidate.weight >= Double(parameters.minP) {
            rest -= candidate.weight
            if rest < 0 { return candidate.token }
            // By rounding, the sum of the weights may end a little below the total.
            if candidate.weight > 0 { last = candidate.token }
        }
        return last
    }

    /// Top-k, then top-p, on `kept`.
    private mutating func filter() {
        let limit = parameters.topK > 0 ? min(parameters.topK, kept.count) : kept.count
        guard limit < kept.count || parameters.topP < 1 else { return }
        var all = 0.0
        for candidate in kept { all += candidate.weight }
        let isLimited = limit < kept.count
        heap.fill(kept)
        kept.removeAll(keepingCapacity: true)
        if isLimited {
            while kept.count < limit, let candidate = heap.pop() { kept.append(candidate) }
            guard parameters.topP < 1 else { return }
            kept.removeLast(kept.count - nucleusSize())
            return
        }
        let mass = Double(parameters.topP) * all
        var sum = 0.0
        while sum < mass, let candidate = heap.pop() {
            kept.append(candidate)
            sum += candidate.weight
        }
    }

    /// How many of `kept`, heaviest first, have `topP` of their common weight.
    private func nucleusSize() -> Int {
        var all = 0.0
        for candidate in kept { all += candidate.weight }
        let mass = Double(parameters.topP) * all
        var sum = 0.0
        for (index, candidate) in kept.enumerated() {
            if sum >= mass { return index }
            sum += candidate.weight
        }
        return kept.count
    }

    /// The token with the largest logit, the lowest such id; 0 when all are NaN.
    static func likeliest(_ logits: UnsafeBufferPointer<Float>) -> Int {
        // The largest first, 16 at a time, and then where it stands: comparisons with NaN are false.
        var largest = SIMD16<Float>(repeating: -.infinity)
        var index = 0
        while index + 16 <= logits.count {
            let values = UnsafeRawPointer(logits.baseAddress! + index).loadUnaligned(as: SIMD16<Float>.self)
            largest.replace(with: values, where: values .> largest)
            index += 16
        }
        var value = largest.max()
        for token in index..<logits.count where logits[token] > value { value = logits[token] }
        return logits.firstIndex { $0 == value } ?? 0
    }
}

/// A token and its weight. The heavier one precedes; equal weights go by their ids.
private struct Candidate {
    let token: Int
    let weight: Double

    func precedes(_ other: Candidate) -> Bool {
        weight != other.weight ? weight > other.weight : token < other.token
    }
}

/// Candidates, the heaviest first out: a filter seldom wants more than a few of a vocabulary.
///
/// Not Tokenization's generic heap, which the compiler does not specialize in another module: it would allocate for every
/// comparison.
private struct CandidateHeap {
    private var candidates: [Candidate] = []

    /// Replaces what it holds, keeping its memory. O(n).
    mutating func fill(_ new: [Candidate]) {
        candidates.removeAll(keepingCapacity: true)
        candidates.append(contentsOf: new)
        for parent in stride(from: candidates.count / 2 - 1, through: 0, by: -1) { sink(parent) }
    }

    /// Removes the heaviest. O(log n).
    mutating func pop() -> Candidate? {
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
            let left = 2 * parent + 1
            for child in left..<max(left, min(left + 2, candidates.count))
            where candidates[child].precedes(candidates[first]) {
                first = child
            }
            if first == parent { return }
            candidates.swapAt(parent, first)
            parent = first
        }
    }
}

/// Random numbers that are the same everywhere for the same seed: xoshiro256** (Blackman and Vigna 2018), its state filled
/// by SplitMix64.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    public init(seed: UInt64) {
        var mixer = seed
        state = (splitMix64(&mixer), splitMix64(&mixer), splitMix64(&mixer), splitMix64(&mixer))
    }

    public mutating func next() -> UInt64 {
        let product = state.1 &* 5
        let result = (product << 7 | product >> 57) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = state.3 << 45 | state.3 >> 19
        return result
    }

    /// A number of 53 random bits in 0 ..< 1.
    mutating func nextUnit() -> Double { Double(next() >> 11) * 0x1p-53 }
}

/// A step of SplitMix64 (Steele, Lea and Flood 2014): moves the state on and returns it mixed.
package func splitMix64(_ state: inout UInt64) -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
}
