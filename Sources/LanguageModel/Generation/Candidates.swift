/// A token that a filter may keep. The likelier one precedes; equals go by their ids.
struct Candidate: Sendable {
    let token: Int
    let logit: Float
    /// exp of what it is less likely than the likeliest.
    let weight: Float

    func precedes(_ other: Candidate) -> Bool {
        logit != other.logit ? logit > other.logit : token < other.token
    }
}

/// Some tokens of a vocabulary, of which a filter keeps the likeliest.
///
/// Nothing is sorted but a few at the place that is looked for: a selection parts the candidates into the likelier and the
/// others, again and again, on the side where that place is. O(n) for n of them, however flat their distribution is; and
/// of a vocabulary of 100,000, a filter's candidates are seldom more than a few dozen.
struct Candidates: Sendable {
    /// Parts of fewer are sorted.
    private static let sorted = 24

    /// In no order, after a selection; by id before the first.
    private(set) var elements: [Candidate] = []

    /// Their weights' sum.
    var weight: Double { elements.reduce(0) { $0 + Double($1.weight) } }

    mutating func removeAll() { elements.removeAll(keepingCapacity: true) }

    /// Adds the tokens with lower ≤ x < upper and a weight of at least `least`.
    mutating func gather(_ softmax: SoftmaxWeights, from lower: Float, below upper: Float, least: Float = 0) {
        // Room for all at the first draw, so that no later one allocates; what is not used takes no memory.
        elements.reserveCapacity(softmax.logits.count)
        for index in stride(from: 0, to: softmax.logits.count, by: SoftmaxWeights.laneCount) {
            let x = softmax.exponents(at: index)
            guard any(x .>= lower) else { continue }
            let weights = SoftmaxWeights.weights(x)
            for lane in 0..<SoftmaxWeights.laneCount
            where x[lane] >= lower && x[lane] < upper && weights[lane] >= least {
                let token = index + lane
                elements.append(Candidate(token: token, logit: softmax.logits[token], weight: weights[lane]))
            }
        }
    }

    /// Keeps the likeliest `count`, or all where there are no more.
    mutating func keep(count: Int) {
        guard count < elements.count else { return }
        let (index, _) = select { candidates, _ in candidates > count }
        elements.removeLast(elements.count - index)
    }

    /// Keeps the fewest of the likeliest that together weigh `mass`, or all where these weigh less.
    mutating func keep(mass: Double) {
        let (index, isReached) = select { _, weight in weight >= mass }
        if isReached { elements.removeLast(elements.count - index - 1) }
    }

    /// Keeps those that weigh at least `weight`.
    mutating func keep(weight: Float) { elements.removeAll { $0.weight < weight } }

    /// The one, from the likeliest on, at which their weight exceeds `mass`, or the last that has any.
    mutating func token(at mass: Double) -> Int? {
        let (index, isReached) = select { _, weight in weight > mass }
        // By rounding, the sum may end a little below.
        return isReached ? elements[index].token : elements.min { $1.precedes($0) }?.token
    }

    /// The one, in the order that they have, at which their weight exceeds `mass`, or the last.
    func token(inOrderAt mass: Double) -> Int? {
        var rest = mass
        for candidate in elements {
            rest -= Double(candidate.weight)
            if rest < 0 { return candidate.token }
        }
        return elements.last?.token
    }

    /// Looks for the first candidate, from the likeliest on, with which number and weight of those up to it satisfy
    /// `isReached`, which holds for all after it too. Those before it then have the places before its own.
    private mutating func select(
        _ isReached: (_ count: Int, _ weight: Double) -> Bool
    ) -> (index: Int, isReached: Bool) {
        var (low, high, weight) = (0, elements.count, 0.0)
        while high - low > Self.sorted {
            let (pivot, likelier) = part(low..<high)
            if pivot > low, isReached(pivot, weight + likelier) {
                high = pivot
                continue
            }
            weight += likelier + Double(elements[pivot].weight)
            if isReached(pivot + 1, weight) { return (pivot, true) }
            low = pivot + 1
        }
        sort(low..<high)
        for index in low..<high {
            weight += Double(elements[index].weight)
            if isReached(index + 1, weight) { return (index, true) }
        }
        return (high, false)
    }

    /// By insertion: Swift's own sort may allocate.
    private mutating func sort(_ range: Range<Int>) {
        for start in range {
            var index = start
            while index > range.lowerBound, elements[index].precedes(elements[index - 1]) {
                elements.swapAt(index, index - 1)
                index -= 1
            }
        }
    }

    /// Puts the candidates that precede the median of three before it and the others behind it.
    ///
    /// - Returns: where it is then, and the weight of those before it in the range.
    private mutating func part(_ range: Range<Int>) -> (pivot: Int, likelier: Double) {
        let last = range.upperBound - 1
        let middle = range.lowerBound + range.count / 2
        for (one, other) in [(range.lowerBound, middle), (middle, last), (range.lowerBound, middle)]
        where elements[other].precedes(elements[one]) {
            elements.swapAt(one, other)
        }
        elements.swapAt(middle, last)
        let pivot = elements[last]
        var (end, likelier) = (range.lowerBound, 0.0)
        for index in range.lowerBound..<last where elements[index].precedes(pivot) {
            likelier += Double(elements[index].weight)
            elements.swapAt(index, end)
            end += 1
        }
        elements.swapAt(end, last)
        return (end, likelier)
    }
}
