import Foundation

/// Draws the next token from logits:
///
///     penalties and bias → softmax(logits / temperature) → top-k → top-p → min-p → draw
///
/// Each filter works on what the one before it left. Weights are made of additions and multiplications of floats, sums run
/// in double precision and in a fixed order, and ties go to the lower id, so the same seed and logits give the same token on
/// every machine. Its arrays are kept from token to token.
public struct Sampler: Sendable {
    private let parameters: GenerateParameters
    private var generator: SeededGenerator
    /// The last `repetitionContextSize` tokens.
    private var recent: [Int] = []
    /// How often the text has its tokens, where that counts.
    private var counts: [Int: Float] = [:]
    private var penalized: [Float] = []
    private var kept = Candidates()
    private var whole = SoftmaxDraw()

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
        guard !parameters.keepsLogits else { return draw(logits) }
        // Taken out and put back, so that the copy on write has nothing to copy.
        var values = penalized
        penalized = []
        penalize(logits, into: &values)
        let token = values.withUnsafeBufferPointer { draw($0) }
        penalized = values
        if parameters.repetitionPenalty != 1 {
            recent.append(token)
            recent.removeFirst(max(0, recent.count - parameters.repetitionContextSize))
        }
        if parameters.frequencyPenalty != 0 || parameters.presencePenalty != 0 { counts[token, default: 0] += 1 }
        return token
    }

    private func penalize(_ logits: UnsafeBufferPointer<Float>, into values: inout [Float]) {
        values.removeAll(keepingCapacity: true)
        values.append(contentsOf: logits)
        for (index, token) in recent.enumerated()
        where parameters.repetitionPenalty != 1 && logits.indices.contains(token) && !recent[..<index].contains(token) {
            if values[token] > 0 {
                values[token] /= parameters.repetitionPenalty
            } else {
                values[token] *= parameters.repetitionPenalty
            }
        }
        for (token, count) in counts {
            values[token] -= parameters.frequencyPenalty * count + parameters.presencePenalty
        }
        for (token, bias) in parameters.logitBias where logits.indices.contains(token) { values[token] += bias }
    }

    /// Passes over the random numbers of so many draws: an earlier run made them.
    mutating func skip(_ draws: Int) {
        for _ in 0..<draws { _ = generator.nextUnit() }
    }

    private mutating func draw(_ logits: UnsafeBufferPointer<Float>) -> Int {
        let likeliest = Self.likeliest(logits)
        // A temperature so low that the quotient is infinite is greedy too.
        let inverse = Float(1 / Double(parameters.temperature))
        guard inverse.isFinite, logits[likeliest].isFinite else { return likeliest }
        let softmax = SoftmaxWeights(logits: logits, largest: logits[likeliest], inverse: inverse)
        if parameters.keepsAll { return whole.token(softmax, unit: generator.nextUnit()) ?? likeliest }
        let isByLikelihood = filter(softmax)
        let mass = generator.nextUnit() * kept.weight
        return (isByLikelihood ? kept.token(at: mass) : kept.token(inOrderAt: mass)) ?? likeliest
    }

    /// Top-k, then top-p, then min-p, into `kept`.
    ///
    /// - Returns: whether the running sum of a draw goes from the likeliest on; otherwise by id.
    private mutating func filter(_ softmax: SoftmaxWeights) -> Bool {
        kept.removeAll()
        let limit = parameters.topK > 0 && parameters.topK < softmax.logits.count ? parameters.topK : nil
        let mass = limit == nil && parameters.topP < 1 ? Double(parameters.topP) * whole.total(softmax) : nil
        if limit == nil, mass == nil {
            // What log rounds does not matter: the weights decide.
            let lower = parameters.minP > 0 ? log(parameters.minP) - 0.001 : SoftmaxWeights.least
            kept.gather(softmax, from: lower, below: .infinity, least: parameters.minP)
            return false
        }
        // Further and further down, until there are enough: most often those within the first bound are.
        var upper = Float.infinity
        for lower in [-2.5, -5, -10, -20, SoftmaxWeights.least] {
            kept.gather(softmax, from: lower, below: upper)
            if let limit, kept.elements.count >= limit { break }
            if let mass, kept.weight >= mass { break }
            upper = lower
        }
        if let mass {
            kept.keep(mass: mass)
        } else if let limit {
            kept.keep(count: limit)
            if parameters.topP < 1 { kept.keep(mass: Double(parameters.topP) * kept.weight) }
        }
        // What falls to min-p would fall after top-k and top-p too; but it counts in top-p's sum.
        if parameters.minP > 0 { kept.keep(weight: parameters.minP) }
        return true
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
