import ModelDescription
import SignDecomposition
import TensorFiles

/// One batch of samples that the teacher writes side by side.
struct SampleBatch: Sendable {
    let model: Transformer
    let settings: SynthesisSettings
    /// Token fed before the samples, if any.
    let beginOfSequence: Int?
    /// Tokens that end a sample.
    let stops: Set<Int>

    /// Writes the samples with numbers `range`; they depend on the settings and these numbers alone.
    ///
    /// - Returns: Tokens of each sample: without BOS, with the token that ended it.
    func write(_ range: Range<Int>) throws -> [[Int]] {
        try withoutGradient {
            var random = SplitMix64(seed: settings.seed ^ (UInt64(range.lowerBound) &* 0xD1B5_4A32_D192_ED03))
            let generator = try TorchGenerator(seed: random.next())
            let vocabulary = model.configuration.vocabularySize

            var samples = [[Int]](repeating: [], count: range.count)
            var greedy = [Int](repeating: 0, count: range.count)
            if settings.firstToken == .uniform || beginOfSequence == nil {
                for index in samples.indices {
                    samples[index] = [firstToken(below: vocabulary, using: &random)]
                    greedy[index] = 1 + Int.random(in: settings.greedyTokens, using: &random)
                }
            }

            var active = Array(samples.indices)  // sample of each row of the cache
            let cache = try model.makeCache(batch: active.count, capacity: settings.maximumLength + 1)
            var feed: [[Int]] = samples.map { (beginOfSequence.map { [$0] } ?? []) + $0 }
            while !active.isEmpty {
                let fed = try Tensor(integers: feed.flatMap(\.self), shape: [feed.count, feed[0].count])
                let logits = try model.decode(fed, cache: cache)
                let drawn = try logits.sampled(using: generator).integers()
                let best = active.contains { samples[$0].count < greedy[$0] } ? try logits.argmax().integers() : []

                var unfinished: [Int] = []  // rows that go on
                for (row, sample) in active.enumerated() {
                    let token = samples[sample].count < greedy[sample] ? best[row] : drawn[row]
                    samples[sample].append(token)
                    if !stops.contains(token), samples[sample].count < settings.maximumLength { unfinished.append(row) }
                }
                if unfinished.count < active.count {
                    try cache.select(rows: unfinished)
                    active = unfinished.map { active[$0] }
                }
                feed = active.map { [samples[$0][samples[$0].count - 1]] }
            }
            return samples
        }
    }

    /// Uniform over the vocabulary without BOS and the stop tokens, which would end the sample before it began.
    private func firstToken(below vocabulary: Int, using random: inout SplitMix64) -> Int {
        while true {
            let token = Int.random(in: 0..<vocabulary, using: &random)
            if token != beginOfSequence, !stops.contains(token) { return token }
        }
    }
}
