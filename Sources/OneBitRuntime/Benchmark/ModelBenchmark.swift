import LanguageModel
import ModelDescription

/// Speed of a packed model in llama-bench's terms: `pp`N, tokens of a prompt of N a second; `tg`N, tokens a second over N
/// generated one by one from an empty context. Tokens are random, nothing is sampled.
package struct ModelBenchmark {
    /// Tokens per second of one test.
    package struct Result: Sendable, Codable {
        /// `pp512`, `tg128`
        package let name: String
        /// One per repetition.
        package let samples: [Double]
        /// Mean of the samples.
        package var tokensPerSecond: Double { samples.reduce(0, +) / Double(samples.count) }
        /// Their standard deviation (n − 1); 0 for one sample.
        package var deviation: Double {
            guard samples.count > 1 else { return 0 }
            let mean = tokensPerSecond
            let squares = samples.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
            return (squares / Double(samples.count - 1)).squareRoot()
        }
    }

    private let model: PackedModel

    package init(model: PackedModel) {
        self.model = model
    }

    /// Reads a prompt.
    ///
    /// - Throws: `LanguageModelError`, ``RuntimeError``, and `CancellationError` when the task is cancelled.
    package func prompt(_ tokens: Int, repetitions: Int) throws -> Result {
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: tokens, batchTokens: tokens, logitRows: 1))
        let sequence = try context.makeSequence(capacity: tokens)
        let prompt = randomTokens(tokens)
        func read(_ tokens: ArraySlice<Int>) throws {
            context.truncate(sequence, to: 0)
            var batch = TokenBatch(capacity: tokens.count)
            batch.append(tokens, to: sequence, sequenceLength: tokens.count, logits: .last)
            try context.decode(batch)
        }
        // Memory is touched and caches are warm before the clock runs.
        try read(prompt.prefix(256))
        let samples = try (0..<repetitions).map { _ in try Self.rate(tokens) { try read(prompt[...]) } }
        return Result(name: "pp\(tokens)", samples: samples)
    }

    /// Generates tokens one by one.
    ///
    /// - Throws: as ``prompt(_:repetitions:)``.
    package func generation(_ tokens: Int, repetitions: Int) throws -> Result {
        let context = try model.makeDecodingContext(
            DecodingLimits(sequences: 1, positions: tokens, batchTokens: 1, logitRows: 1))
        let sequence = try context.makeSequence(capacity: tokens)
        let next = randomTokens(tokens)
        var batch = TokenBatch(capacity: 1)
        func read(_ token: Int, position: Int) throws {
            batch.removeAll()
            batch.append(CollectionOfOne(token), to: sequence, sequenceLength: position + 1, logits: .last)
            try context.decode(batch)
        }
        try read(next[0], position: 0)
        let samples = try (0..<repetitions).map { _ in
            context.truncate(sequence, to: 0)
            return try Self.rate(tokens) {
                for (position, token) in next.enumerated() { try read(token, position: position) }
            }
        }
        return Result(name: "tg\(tokens)", samples: samples)
    }

    /// Bytes per second that the model's threads read from memory, without doing anything with them: the median of some.
    ///
    /// - Throws: as ``prompt(_:repetitions:)``.
    package func readBandwidth(repetitions: Int = 5) throws -> Double {
        try model.backEnd.measureReadBandwidth(repetitions: repetitions)
    }

    private func randomTokens(_ count: Int) -> [Int] {
        var generator = SeededGenerator(seed: 1)
        return (0..<count).map { _ in Int.random(in: 0..<model.configuration.vocabularySize, using: &generator) }
    }

    private static func rate(_ count: Int, _ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return Double(count) / max((ContinuousClock.now - start) / .seconds(1), 1e-9)
    }
}
