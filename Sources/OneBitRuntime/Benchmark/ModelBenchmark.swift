import LanguageModel
import ModelDescription

/// Speed of a model in llama-bench's terms: `pp`N, tokens of a prompt of N a second; `tg`N, tokens a second over N generated one
/// by one. Tokens are random, nothing is sampled.
package struct ModelBenchmark {
    /// What is measured.
    package struct Test: Sendable, Hashable {
        package enum Kind: String, Sendable, Codable {
            case prompt = "pp"
            case generation = "tg"
        }

        package let kind: Kind
        /// Tokens of the prompt, or those generated, of each sequence.
        package let tokens: Int
        /// Sequences that are decoded side by side.
        package let sequences: Int
        /// Tokens in each sequence's context beforehand.
        package let depth: Int

        package init(_ kind: Kind, tokens: Int, sequences: Int = 1, depth: Int = 0) {
            self.kind = kind
            self.tokens = tokens
            self.sequences = sequences
            self.depth = depth
        }

        /// `pp512`, `tg128`; `tg128 x4` for four sequences; `tg128 @ d2048` behind 2,048 tokens.
        package var name: String {
            kind.rawValue + "\(tokens)" + (sequences > 1 ? " x\(sequences)" : "") + (depth > 0 ? " @ d\(depth)" : "")
        }

        /// Positions that each sequence needs.
        package var positions: Int { depth + tokens }
    }

    /// Tokens per second of one test, those of all sequences together.
    package struct Result: Sendable {
        package let test: Test
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

    /// Rows of a batch while contexts are filled.
    private static let fillingRows = 512

    private let model: any CausalLanguageModel
    private let backEnd: any BackEnd

    package init(_ model: PackedModel) {
        self.model = model
        backEnd = model.backEnd
    }

    package init(_ model: DenseModel) {
        self.model = model
        backEnd = model.backEnd
    }

    /// Runs a test. Its contexts are filled once, and cut back to their depth before each repetition.
    ///
    /// - Throws: `LanguageModelError`, ``RuntimeError``, and `CancellationError` when the task is cancelled.
    package func run(_ test: Test, repetitions: Int) throws -> Result {
        let rows = max(Self.fillingRows, test.sequences, test.kind == .prompt ? test.tokens : 0)
        let context = try model.makeDecodingContext(
            DecodingLimits(
                sequences: test.sequences, positions: test.positions, batchTokens: rows, logitRows: test.sequences))
        let sequences = try (0..<test.sequences).map { _ in try context.makeSequence(capacity: test.positions) }
        var batch = TokenBatch(capacity: rows)
        let fill = randomTokens(test.depth)
        for sequence in sequences {
            for first in stride(from: 0, to: test.depth, by: Self.fillingRows) {
                batch.removeAll()
                batch.append(
                    fill[first..<min(first + Self.fillingRows, test.depth)], to: sequence, sequenceLength: test.depth,
                    logits: .none)
                try context.decode(batch)
            }
        }

        let tokens = randomTokens(test.tokens)
        func read(_ part: Range<Int>) throws {
            batch.removeAll()
            for sequence in sequences {
                batch.append(
                    tokens[part], to: sequence, sequenceLength: test.depth + part.upperBound, logits: .last)
            }
            try context.decode(batch)
        }
        func repetition(_ count: Int) throws {
            for sequence in sequences { context.truncate(sequence, to: test.depth) }
            switch test.kind {
            case .prompt: try read(0..<count)
            case .generation: for token in 0..<count { try read(token..<token + 1) }
            }
        }
        // Memory is touched and caches are warm before the clock runs.
        try repetition(min(test.tokens, test.kind == .prompt ? 256 : 1))
        let samples = try (0..<repetitions).map { _ in
            let start = ContinuousClock.now
            try repetition(test.tokens)
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            return Double(test.tokens * test.sequences) / max(seconds, 1e-9)
        }
        return Result(test: test, samples: samples)
    }

    /// Bytes per second that the model's threads read from memory, without doing anything with them: the median of some.
    ///
    /// - Throws: as ``run(_:repetitions:)``.
    package func readBandwidth(repetitions: Int = 5) throws -> Double {
        try backEnd.measureReadBandwidth(repetitions: repetitions)
    }

    private func randomTokens(_ count: Int) -> [Int] {
        var generator = SeededGenerator(seed: 1)
        return (0..<count).map { _ in Int.random(in: 0..<model.configuration.vocabularySize, using: &generator) }
    }
}
