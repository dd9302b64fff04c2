// Temporary, until scoring is written over contexts.

import LanguageModel

extension PackedModel {
    /// Reads each context once: every continuation takes the place of the one before it in the cache. Continuations that
    /// differ in their last token alone, answers of one token say, are one row of logits.
    public func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        if configuration.structure.dependsOnLength { return try separateScores(of: requests) }
        for request in requests { try check(request) }
        guard let positions = requests.map(\.positions).max() else { return [] }
        let context = try makeDecodingContext(
            DecodingLimits(sequences: 1, positions: positions, batchTokens: positions, logitRows: min(positions, 128)))
        let sequence = try context.makeSequence(capacity: positions)
        return try requests.map { try scores(of: $0, context, sequence) }
    }

    private func scores(
        of request: ContinuationRequest, _ context: any DecodingContext, _ sequence: SequenceID
    ) throws -> [ContinuationScore] {
        var batch = TokenBatch()
        func read(_ tokens: [Int], _ logits: LogitRows) throws {
            batch.removeAll()
            batch.append(
                tokens, to: sequence, sequenceLength: context.length(of: sequence) + tokens.count, logits: logits)
            try context.decode(batch)
        }
        context.truncate(sequence, to: 0)
        let start = request.context.count - 1
        if start > 0 { try read(Array(request.context[..<start]), .none) }
        var scores = [ContinuationScore?](repeating: nil, count: request.continuations.count)
        for group in request.groups {
            context.truncate(sequence, to: start)
            var sums = [ContinuationSum](repeating: ContinuationSum(), count: group.members.count)
            let tokens = [request.context[start]] + group.read
            for first in stride(from: 0, to: tokens.count, by: context.limits.logitRows) {
                try read(Array(tokens[first...].prefix(context.limits.logitRows)), .all)
                for row in 0..<batch.logitRowCount {
                    let targets = group.members.map { request.continuations[$0][first + row] }
                    let predictions = try context.withLogits(row: row) {
                        TokenPrediction.all(logits: $0, targets: targets)
                    }
                    for (index, prediction) in predictions.enumerated() { sums[index].add(prediction) }
                }
            }
            for (index, member) in group.members.enumerated() { scores[member] = sums[index].score }
        }
        return scores.compactMap { $0 }
    }
}
