import LanguageModel
import ModelDescription
import Torch

extension TorchModel {
    /// Reads each context once: the continuations of a request stand behind it in one row of a batch, each at the
    /// positions that follow the context, and a mask keeps them from seeing each other.
    public func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        if configuration.structure.dependsOnLength { return try separateScores(of: requests) }
        for request in requests { try check(request) }
        guard !requests.isEmpty else { return [] }
        let share = (requests.count + collective.workers - 1) / collective.workers
        let parts = try collective.map((requests.count + share - 1) / share) { worker in
            let part = requests[worker * share..<min((worker + 1) * share, requests.count)]
            return try withoutGradient {
                try ScoringBatch(Array(part), configuration: self.configuration).scores(self.model)
            }
        }
        return parts.flatMap(\.self)
    }
}

/// Requests side by side: a row each, filled up to the longest.
private struct ScoringBatch {
    /// Logits that are computed at a time.
    private static let logitLimit = 1 << 24

    private let requests: [(request: ContinuationRequest, groups: [ContinuationGroup])]
    private let configuration: ModelConfiguration
    /// Tokens of a row.
    private let length: Int

    init(_ requests: [ContinuationRequest], configuration: ModelConfiguration) {
        self.requests = requests.map { ($0, $0.groups) }
        self.configuration = configuration
        length = self.requests.map { $0.request.context.count + $0.groups.reduce(0) { $0 + $1.read.count } }.max() ?? 0
    }

    func scores(_ model: Transformer) throws -> [[ContinuationScore]] {
        let layout = rows()
        let shape = [requests.count, length]
        // Where no request has two continuations that are read, each row is one sequence, and what fills it up comes
        // after all that is looked at.
        let isPlain = requests.allSatisfy { $0.groups.filter { !$0.read.isEmpty }.count < 2 }
        let positions =
            try isPlain
            ? model.positions(length: length)
            : model.positions(
                layout.positions, batch: requests.count,
                masks: AttentionMasks(
                    full: mask(window: nil, device: model.device),
                    windowed: configuration.structure.slidingWindow.map { try mask(window: $0, device: model.device) }
                        ?? .causal))
        let x = try model.residual(.integers(layout.tokens, shape: shape, device: model.device), at: positions)
        let states = try x.reshaped([requests.count * length, configuration.hiddenSize])
        return try scores(model, states: states, predictions: layout.predictions)
    }

    /// One token that a row of the residual stream predicts.
    private struct Prediction {
        let state: Int
        let target: Int
        let request: Int
        let continuation: Int
    }

    /// Tokens and positions [requests, length], and what is to be looked at.
    private func rows() -> (tokens: [Int], positions: [Int], predictions: [Prediction]) {
        var tokens = [Int](repeating: 0, count: requests.count * length)
        var positions = tokens
        var predictions: [Prediction] = []
        for (index, (request, groups)) in requests.enumerated() {
            let first = index * length
            var next = first
            for (position, token) in request.context.enumerated() {
                (tokens[next], positions[next]) = (token, position)
                next += 1
            }
            let last = next - 1
            for group in groups {
                for member in group.members {
                    for (place, target) in request.continuations[member].enumerated() {
                        predictions.append(
                            Prediction(
                                state: place == 0 ? last : next + place - 1, target: target, request: index,
                                continuation: member))
                    }
                }
                for (offset, token) in group.read.enumerated() {
                    (tokens[next], positions[next]) = (token, request.context.count + offset)
                    next += 1
                }
            }
        }
        return (tokens, positions, predictions)
    }

    /// A token of the context sees what precedes it; one of a continuation sees the context and its own continuation.
    private func mask(window: Int?, device: Device) throws -> AttentionMask {
        var mask = [Float](repeating: -.infinity, count: requests.count * length * length)
        func allow(_ range: Range<Int>, in row: Int) {
            for column in range { mask[row * length + column] = 0 }
        }
        let window = window ?? .max
        for (index, (request, groups)) in requests.enumerated() {
            let context = request.context.count
            for position in 0..<context {
                allow(position + 1 - min(window, position + 1)..<position + 1, in: index * length + position)
            }
            var start = context
            for group in groups {
                for offset in group.read.indices {
                    let position = context + offset
                    let seen = min(window, position + 1)
                    let own = min(seen, offset + 1)
                    let row = index * length + start + offset
                    allow(start + offset + 1 - own..<start + offset + 1, in: row)
                    allow(context - (seen - own)..<context, in: row)
                }
                start += group.read.count
            }
            // Padding sees one token: the softmax of a row that sees nothing is 0 / 0.
            for position in start..<length { allow(0..<1, in: index * length + position) }
        }
        return .matrix(try .floats(mask, shape: [requests.count, 1, length, length], device: device))
    }

    private func scores(
        _ model: Transformer, states: Tensor, predictions: [Prediction]
    ) throws -> [[ContinuationScore]] {
        var sums = requests.map { [Double](repeating: 0, count: $0.request.continuations.count) }
        var greedy = requests.map { [Bool](repeating: true, count: $0.request.continuations.count) }
        let rows = max(1, Self.logitLimit / configuration.vocabularySize)
        var start = 0
        while start < predictions.count {
            // Predictions of one state stand close together, and share its logits.
            var wanted: [Int] = []
            var rowOfState: [Int: Int] = [:]
            var indices: [Int] = []
            var end = start
            while end < predictions.count {
                let state = predictions[end].state
                if rowOfState[state] == nil {
                    guard wanted.count < rows else { break }
                    rowOfState[state] = wanted.count
                    wanted.append(state)
                }
                indices.append((rowOfState[state] ?? 0) * configuration.vocabularySize + predictions[end].target)
                end += 1
            }
            let selected = try states.selecting(
                .integers(wanted, shape: [wanted.count], device: states.device), along: 0)
            let logits = try model.logits(of: model.headInput(selected))
            let likeliest = try logits.argmax().integers()
            let found = try logits.logSoftmax().taking(
                .integers(indices, shape: [indices.count], device: states.device)
            ).floats()
            for (prediction, logProbability) in zip(predictions[start..<end], found) {
                sums[prediction.request][prediction.continuation] += Double(logProbability)
                if likeliest[rowOfState[prediction.state] ?? 0] != prediction.target {
                    greedy[prediction.request][prediction.continuation] = false
                }
            }
            start = end
        }
        return zip(sums, greedy).map { zip($0, $1).map { ContinuationScore(logLikelihood: $0, isGreedy: $1) } }
    }
}
