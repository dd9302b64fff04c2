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
    private var kept: [CandidateHeap.Candidate] = []

    /// - Parameters:
    ///   - parameters: what to filter by, and the seed.
    ///   - prompt: tokens that the repetition penalty counts as having occurred.
    /// - Throws: ``GenerationError/invalidParameter(name:value:expected:)``
    public init(_ parameters: GenerateParameters, prompt: [Int] = []) throws {
        try parameters.validate()
        self.parameters = parameters
        generator = SeededGenerator(seed: parameters.seed)
        recent = prompt.suffix(parameters.repetitionContextSize)
        recent.reserveCapacity(parameters.repetitionContextSize + 1)
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

    private mutating func draw(_ logits: UnsafeBufferPointer<Float>) -> Int {
        let likeliest = Self.likeliest(logits)
        // A temperature so low that the quotient is infinite is greedy too.
        let inverse = 1 / Double(parameters.temperature)
        guard inverse.isFinite, logits[likeliest].isFinite else { return likeliest }
        // Weights relative to the likeliest token's, so none overflows.
        let largest = Double(logits[likeliest])
        kept.removeAll(keepingCapacity: true)
        for (token, logit) in logits.enumerated() {
            let weight = logit.isNaN ? 0 : exp((Double(logit) - largest) * inverse)
            kept.append(CandidateHeap.Candidate(token: token, weight: weight))
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
            // Rounding may leave a crumb behind the last one.
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
            while kept.count < limit, let candidate = heap.popFirst() { kept.append(candidate) }
            guard parameters.topP < 1 else { return }
            kept.removeLast(kept.count - nucleusSize())
            return
        }
        let mass = Double(parameters.topP) * all
        var sum = 0.0
        while sum < mass, let candidate = heap.popFirst() {
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
    private static func likeliest(_ logits: UnsafeBufferPointer<Float>) -> Int {
        var best = 0
        var value = logits[0]
        for token in 1..<max(1, logits.count) where logits[token] > value || value.isNaN {
            best = token
            value = logits[token]
        }
        return best
    }
}
