import LanguageModel

extension PackedModel {
    /// Reads each context once: every continuation takes the place of the one before it in the cache. Continuations that
    /// differ in their last token alone, answers of one token say, are one row of logits.
    public func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        if configuration.structure.dependsOnLength { return try separateScores(of: requests) }
        for request in requests { try check(request) }
        guard let positions = requests.map(\.positions).max() else { return [] }
        let decoder = try PackedDecoder(model: self, contextLength: positions)
        return try requests.map { try scores(of: $0, decoder: decoder) }
    }

    private func scores(of request: ContinuationRequest, decoder: PackedDecoder) throws -> [ContinuationScore] {
        decoder.rewind(to: 0)
        let start = request.context.count - 1
        if start > 0 { try decoder.advance(by: Array(request.context[..<start])) }
        var scores = [ContinuationScore?](repeating: nil, count: request.continuations.count)
        for group in request.groups {
            decoder.rewind(to: start)
            var sums = [ContinuationSum](repeating: ContinuationSum(), count: group.members.count)
            var row = 0
            try decoder.advance(by: [request.context[start]] + group.read) { logits in
                let vocabulary = configuration.vocabularySize
                for first in stride(from: 0, to: logits.count, by: vocabulary) {
                    let values = UnsafeBufferPointer(rebasing: logits[first..<first + vocabulary])
                    let targets = group.members.map { request.continuations[$0][row] }
                    for (index, prediction) in TokenPrediction.all(logits: values, targets: targets).enumerated() {
                        sums[index].add(prediction)
                    }
                    row += 1
                }
            }
            for (index, member) in group.members.enumerated() { scores[member] = sums[index].score }
        }
        return scores.compactMap { $0 }
    }
}
