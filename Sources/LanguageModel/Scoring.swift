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
    /// differ in their last token alone, such as answers of one token, are one row of logits.
    ///
    /// Where rotations depend on the length of the sequence, a context is not the same before continuations of different
    /// lengths and is read for each of them.
    public func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        for request in requests { try check(request) }
        guard let positions = requests.map(\.positions).max() else { return [] }
        let rows = min(positions, Self.passTokens)
        let context = try makeDecodingContext(
            DecodingLimits(sequences: 1, positions: positions, batchTokens: rows, logitRows: rows))
        let sequence = try context.makeSequence(capacity: positions)
        return try requests.map { try scores(of: $0, context, sequence) }
    }

    private func scores(
        of request: ContinuationRequest, _ context: any DecodingContext, _ sequence: SequenceID
    ) throws -> [ContinuationScore] {
        let rows = context.limits.batchTokens
        var batch = TokenBatch(capacity: rows)
        /// Reads tokens in chunks; `body` takes the logits of each where they are wanted, with the token's number.
        func read(
            _ tokens: ArraySlice<Int>, sequenceLength: Int, logits: LogitRows,
            body: (Int, UnsafeBufferPointer<Float>) -> Void = { _, _ in }
        ) throws {
            for first in stride(from: tokens.startIndex, to: tokens.endIndex, by: rows) {
                batch.removeAll()
                batch.append(
                    tokens[first..<min(first + rows, tokens.endIndex)], to: sequence, sequenceLength: sequenceLength,
                    logits: logits)
                try context.decode(batch)
                for row in 0..<batch.logitRowCount {
                    try context.withLogits(row: row) { body(first - tokens.startIndex + row, $0) }
                }
            }
        }
        // The context's last token is read with each continuation: its logits predict the continuation's first token.
        let shared = request.context.dropLast()
        let dependsOnLength = configuration.structure.dependsOnLength
        context.truncate(sequence, to: 0)
        if !dependsOnLength { try read(shared, sequenceLength: shared.count, logits: .none) }
        var scores = [ContinuationScore?](repeating: nil, count: request.continuations.count)
        for group in request.groups {
            let length = request.context.count + group.read.count
            if dependsOnLength {
                context.truncate(sequence, to: 0)
                try read(shared, sequenceLength: length, logits: .none)
            } else {
                context.truncate(sequence, to: shared.count)
                let rest = shared.dropFirst(context.length(of: sequence))
                if !rest.isEmpty { try read(rest, sequenceLength: shared.count, logits: .none) }
            }
            var sums = [ContinuationSum](repeating: ContinuationSum(), count: group.members.count)
            let tokens = [request.context[shared.count]] + group.read
            try read(tokens[...], sequenceLength: length, logits: .all) { index, logits in
                let targets = group.members.map { request.continuations[$0][index] }
                for (member, prediction) in TokenPrediction.all(logits: logits, targets: targets).enumerated() {
                    sums[member].add(prediction)
                }
            }
            for (index, member) in group.members.enumerated() { scores[member] = sums[index].score }
        }
        return scores.compactMap(\.self)
    }

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
