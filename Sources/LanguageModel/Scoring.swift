import Foundation

/// A context and what may follow it: a question and its answers, or a window of a text behind its first tokens.
public struct ContinuationRequest: Sendable, Hashable {
    /// What the model reads first; at least one token.
    public var context: [Int]
    /// What may follow, each at least one token and scored as if it alone followed.
    public var continuations: [[Int]]

    public init(context: [Int], continuations: [[Int]]) {
        self.context = context
        self.continuations = continuations
    }

    /// Positions that scoring takes: a continuation's last token is predicted, not read.
    public var positions: Int { context.count + (continuations.map(\.count).max() ?? 1) - 1 }

    /// Continuations that are the same but for their last token: what is read for one of them is read for all.
    public var groups: [ContinuationGroup] {
        var groups: [ContinuationGroup] = []
        for (index, continuation) in continuations.enumerated() {
            let read = Array(continuation.dropLast())
            if let known = groups.firstIndex(where: { $0.read == read }) {
                groups[known].members.append(index)
            } else {
                groups.append(ContinuationGroup(read: read, members: [index]))
            }
        }
        return groups
    }
}

/// Continuations of a request that a model reads at the same cost as one of them.
public struct ContinuationGroup: Sendable, Hashable {
    /// Tokens that are read behind the context.
    public let read: [Int]
    /// Numbers of the continuations.
    public fileprivate(set) var members: [Int]
}

/// How likely a model finds a continuation.
public struct ContinuationScore: Sendable, Hashable {
    /// Σ_i log P(t_i | context, t_1 … t_{i−1}) in nats.
    public let logLikelihood: Double
    /// Whether every token of it is the likeliest at its place: whether greedy decoding writes it.
    public let isGreedy: Bool

    public init(logLikelihood: Double, isGreedy: Bool) {
        self.logLikelihood = logLikelihood
        self.isGreedy = isGreedy
    }
}

/// A continuation's score on the way, token by token.
package struct ContinuationSum {
    private var logLikelihood = 0.0
    private var isGreedy = true

    package init() {}

    package var score: ContinuationScore { ContinuationScore(logLikelihood: logLikelihood, isGreedy: isGreedy) }

    package mutating func add(_ prediction: TokenPrediction) {
        logLikelihood += prediction.logProbability
        isGreedy = isGreedy && prediction.isLikeliest
    }
}

extension CausalLanguageModel {
    /// Reads each context once: every continuation takes the place of the one before it in the cache. Continuations that
    /// differ in their last token alone, such as answers of one token, are one row of logits. Short requests are read side by
    /// side.
    ///
    /// Where rotations depend on the length of the sequence, a context is not the same before continuations of different
    /// lengths and is read for each of them.
    public func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        for request in requests { try check(request) }
        var scores: [[ContinuationScore]] = []
        while scores.count < requests.count {
            var side = requests[scores.count...].prefix(1)
            var positions = side.reduce(0) { $0 + $1.positions }
            for request in requests[side.endIndex...] {
                positions += request.positions
                if positions > Self.sidePositions { break }
                side = requests[side.startIndex...side.endIndex]
            }
            var scoring = try SideBySideScoring(Array(side), model: self)
            scores += try scoring.scores()
        }
        return scores
    }

    /// Positions of requests that are read side by side: their keys and values, and the rows that a pass has to share out.
    private static var sidePositions: Int { 8 * passTokens }

    /// Scores with one pass per continuation: what ``scores(of:)`` gives at less cost.
    package func separateScores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        try requests.map { request in
            try check(request)
            return try request.continuations.map { continuation in
                let logits = try logits(of: request.context + continuation.dropLast())
                let vocabulary = configuration.vocabularySize
                return logits.withUnsafeBufferPointer { logits in
                    var sum = ContinuationSum()
                    for (index, target) in continuation.enumerated() {
                        let first = (request.context.count - 1 + index) * vocabulary
                        let row = UnsafeBufferPointer(rebasing: logits[first..<first + vocabulary])
                        sum.add(TokenPrediction(logits: row, target: target))
                    }
                    return sum.score
                }
            }
        }
    }

    /// Checks that a request can be scored: tokens of the vocabulary, none of the parts empty, and within the context,
    /// which a continuation's last token needs no place in.
    ///
    /// - Throws: ``LanguageModelError``
    public func check(_ request: ContinuationRequest) throws {
        try check(request.context)
        for continuation in request.continuations {
            guard let last = continuation.last else { throw LanguageModelError.noTokens }
            try check([last])
            guard continuation.count > 1 else { continue }
            try check(Array(continuation.dropLast()), at: request.context.count)
        }
    }
}

/// Requests whose contexts are read together, and then their first continuations, their second ones, and so on: a sequence
/// each, so that a pass has the rows of all of them.
private struct SideBySideScoring {
    /// What a row of the batch is read for.
    private struct Prediction {
        let request: Int
        /// Numbers of the continuations whose next token the row predicts, and which of their tokens that is.
        let members: [Int]
        let index: Int
    }

    private let requests: [ContinuationRequest]
    private let groups: [[ContinuationGroup]]
    private let dependsOnLength: Bool
    private let context: any DecodingContext
    private let sequences: [SequenceID]
    private var batch: TokenBatch
    /// Of the batch's wanted rows.
    private var predictions: [Prediction] = []
    private var sums: [[ContinuationSum]]

    init(_ requests: [ContinuationRequest], model: some CausalLanguageModel) throws {
        self.requests = requests
        groups = requests.map(\.groups)
        dependsOnLength = model.configuration.structure.dependsOnLength
        let positions = requests.map(\.positions)
        let rows = min(positions.reduce(0, +), type(of: model).passTokens)
        let context = try model.makeDecodingContext(
            DecodingLimits(
                sequences: requests.count, positions: positions.max() ?? 0, batchTokens: rows, logitRows: rows))
        self.context = context
        sequences = try positions.map { try context.makeSequence(capacity: $0) }
        batch = TokenBatch(capacity: rows)
        sums = requests.map { [ContinuationSum](repeating: ContinuationSum(), count: $0.continuations.count) }
    }

    mutating func scores() throws -> [[ContinuationScore]] {
        // The context's last token is read with each continuation: its logits predict the continuation's first token.
        if !dependsOnLength {
            for (request, sequence) in sequences.enumerated() {
                let shared = requests[request].context.dropLast()
                try read(shared, of: sequence, sequenceLength: shared.count)
            }
            try decode()
        }
        for round in 0..<(groups.map(\.count).max() ?? 0) {
            for (request, sequence) in sequences.enumerated() where round < groups[request].count {
                try read(groups[request][round], of: request, sequence)
            }
            try decode()
        }
        return sums.map { $0.map(\.score) }
    }

    /// A continuation behind its context, in the place of the one before it.
    private mutating func read(_ group: ContinuationGroup, of request: Int, _ sequence: SequenceID) throws {
        let tokens = requests[request].context
        let shared = tokens.dropLast()
        let length = tokens.count + group.read.count
        context.truncate(sequence, to: dependsOnLength ? 0 : shared.count)
        // A sliding window may have lost what lies before the context's end.
        let lost = shared.dropFirst(context.length(of: sequence))
        if !lost.isEmpty {
            try read(lost, of: sequence, sequenceLength: dependsOnLength ? length : shared.count)
            // A sequence has one slice of a batch.
            try decode()
        }
        try read(([tokens[shared.count]] + group.read)[...], of: sequence, sequenceLength: length) {
            Prediction(request: request, members: group.members, index: $0)
        }
    }

    /// Puts tokens into the batch, which is decoded whenever it is full.
    ///
    /// - Parameter prediction: what the logits behind a token are wanted for, by the token's number; nil where they are not.
    private mutating func read(
        _ tokens: ArraySlice<Int>, of sequence: SequenceID, sequenceLength: Int,
        for prediction: ((Int) -> Prediction)? = nil
    ) throws {
        var rest = tokens
        while !rest.isEmpty {
            let part = rest.prefix(context.limits.batchTokens - batch.tokens.count)
            batch.append(part, to: sequence, sequenceLength: sequenceLength, logits: prediction == nil ? .none : .all)
            if let prediction { predictions += part.indices.map { prediction($0 - tokens.startIndex) } }
            rest = rest.dropFirst(part.count)
            if batch.tokens.count == context.limits.batchTokens { try decode() }
        }
    }

    private mutating func decode() throws {
        guard !batch.tokens.isEmpty else { return }
        try context.decode(batch)
        for (row, wanted) in predictions.enumerated() {
            let targets = wanted.members.map { requests[wanted.request].continuations[$0][wanted.index] }
            let found = try context.predictions(row: row, targets: targets)
            for (member, prediction) in zip(wanted.members, found) { sums[wanted.request][member].add(prediction) }
        }
        batch.removeAll()
        predictions.removeAll(keepingCapacity: true)
    }
}

/// What one row of logits predicts of the token that follows.
public struct TokenPrediction: Sendable, Hashable {
    /// log softmax(logits)[target] in nats.
    public let logProbability: Double
    /// Whether no other token's logit is larger; of equal ones the first counts as the largest.
    public let isLikeliest: Bool

    public init(logProbability: Double, isLikeliest: Bool) {
        self.logProbability = logProbability
        self.isLikeliest = isLikeliest
    }

    /// The prediction of one token by a row [vocabulary].
    public init(logits: UnsafeBufferPointer<Float>, target: Int) {
        self = Self.all(logits: logits, targets: [target])[0]
    }

    /// The predictions of several tokens by a row [vocabulary].
    ///
    /// Exponentials are taken relative to the largest logit, in single precision as the logits are, and summed in double.
    public static func all(logits: UnsafeBufferPointer<Float>, targets: [Int]) -> [TokenPrediction] {
        var largest = -Float.infinity
        var likeliest = 0
        for (token, value) in logits.enumerated() where value > largest {
            largest = value
            likeliest = token
        }
        var sum = 0.0
        for value in logits { sum += Double(exp(value - largest)) }
        let logSum = Double(largest) + log(sum)
        return targets.map {
            TokenPrediction(logProbability: Double(logits[$0]) - logSum, isLikeliest: likeliest == $0)
        }
    }
}
