import Foundation

/// Draws the next token from logits:
///
///     repetition penalty → softmax(logits / temperature) → top-k → top-p → min-p → draw
///
/// Each filter works on what the one before it left. Sums run in double precision and in a fixed order, and ties go to
/// the lower id, so the same seed and logits give the same token.
public struct Sampler: Sendable {
    private let parameters: GenerateParameters
    private var generator: SeededGenerator
    /// The last `repetitionContextSize` tokens.
    private var recent: [Int] = []

    /// - Parameter prompt: tokens that the repetition penalty counts as having occurred.
    /// - Throws: ``GenerationError/invalidParameter(name:value:expected:)``
    public init(_ parameters: GenerateParameters, prompt: [Int] = []) throws {
        try parameters.validate()
        self.parameters = parameters
        generator = SeededGenerator(seed: parameters.seed)
        recent = prompt.suffix(parameters.repetitionContextSize)
    }

    /// The next token, by its place in `logits`, which must not be empty. NaN counts as −∞.
    public mutating func next(logits: [Float]) -> Int {
        let token = draw(penalized(logits))
        if parameters.repetitionPenalty != 1 {
            recent.append(token)
            recent.removeFirst(max(0, recent.count - parameters.repetitionContextSize))
        }
        return token
    }

    private func penalized(_ logits: [Float]) -> [Float] {
        guard parameters.repetitionPenalty != 1 else { return logits }
        var logits = logits
        for token in Set(recent) where logits.indices.contains(token) {
            if logits[token] > 0 {
                logits[token] /= parameters.repetitionPenalty
            } else {
                logits[token] *= parameters.repetitionPenalty
            }
        }
        return logits
    }

    private mutating func draw(_ logits: [Float]) -> Int {
        let likeliest = likeliest(logits)
        // A temperature so low that the quotient is infinite is greedy too.
        let inverse = 1 / Double(parameters.temperature)
        guard inverse.isFinite, logits[likeliest].isFinite else { return likeliest }
        // Weights relative to the likeliest token's, so none overflows.
        let largest = Double(logits[likeliest])
        let all = logits.enumerated().lazy.map { token, logit in
            CandidateHeap.Candidate(
                token: token,
                weight: logit.isNaN ? 0 : exp((Double(logit) - largest) * inverse)
            )
        }
        // What falls to min-p would fall after top-k and top-p too; but it counts in top-p's sum.
        let kept = filtered(Array(all)).filter { $0.weight >= Double(parameters.minP) }
        let total = kept.reduce(0) { $0 + $1.weight }
        var rest = generator.nextUnit() * total
        for candidate in kept {
            rest -= candidate.weight
            if rest < 0 { return candidate.token }
        }
        // Rounding left a crumb behind the last one.
        return kept.last(where: { $0.weight > 0 })?.token ?? likeliest
    }

    /// Top-k, then top-p.
    private func filtered(_ candidates: [CandidateHeap.Candidate]) -> [CandidateHeap.Candidate] {
        let limit = parameters.topK > 0 ? min(parameters.topK, candidates.count) : candidates.count
        guard limit < candidates.count || parameters.topP < 1 else { return candidates }
        var heap = CandidateHeap(candidates)
        var kept: [CandidateHeap.Candidate] = []
        if limit < candidates.count {
            while kept.count < limit, let candidate = heap.popFirst() { kept.append(candidate) }
            guard parameters.topP < 1 else { return kept }
            return Array(kept.prefix(nucleusSize(kept)))
        }
        let mass = Double(parameters.topP) * candidates.reduce(0) { $0 + $1.weight }
        var sum = 0.0
        while sum < mass, let candidate = heap.popFirst() {
            kept.append(candidate)
            sum += candidate.weight
        }
        return kept
    }

    /// How many of the candidates, heaviest first, have `topP` of their common weight.
    private func nucleusSize(_ candidates: [CandidateHeap.Candidate]) -> Int {
        let mass = Double(parameters.topP) * candidates.reduce(0) { $0 + $1.weight }
        var sum = 0.0
        for (index, candidate) in candidates.enumerated() {
            if sum >= mass { return index }
            sum += candidate.weight
        }
        return candidates.count
    }

    /// The token with the largest logit, the lowest such id; 0 when all are NaN.
    private func likeliest(_ logits: [Float]) -> Int {
        var best = 0
        for token in logits.indices where logits[token] > logits[best] || logits[best].isNaN {
            best = token
        }
        return best
    }
}
