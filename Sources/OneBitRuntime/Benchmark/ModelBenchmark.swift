import Foundation
import LanguageModel
import ModelDescription

/// Speed of a packed model in llama-bench's terms: `pp`N, tokens of a prompt of N a second; `tg`N, tokens a second over N
/// generated one by one from an empty context. Tokens are random, nothing is sampled.
public struct ModelBenchmark {
    /// Tokens per second of one test.
    public struct Result: Sendable, Codable {
        /// `pp512`, `tg128`
        public let name: String
        /// One per repetition.
        public let samples: [Double]
        /// Mean of the samples.
        public var tokensPerSecond: Double { samples.reduce(0, +) / Double(samples.count) }
        /// Their standard deviation (n − 1); 0 for one sample.
        public var deviation: Double {
            guard samples.count > 1 else { return 0 }
            let mean = tokensPerSecond
            let squares = samples.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
            return (squares / Double(samples.count - 1)).squareRoot()
        }
    }

    private let model: PackedModel
    private let readings: Buffer<UInt8>

    /// - Throws: ``RuntimeError``
    public init(model: PackedModel) throws {
        self.model = model
        // As much as a token reads, and more than any cache holds.
        let bytes = min(max(model.bytesPerToken, 256 << 20), 1 << 30) & ~255
        try AvailableMemory.require(bytes, for: "measuring the memory's bandwidth")
        readings = try Buffer(count: bytes)
        // Pages that were never written are all one page of zeros.
        for offset in stride(from: 0, to: bytes, by: 4096) { readings.pointer[offset] = 1 }
    }

    /// Feeds a prompt.
    ///
    /// - Throws: ``RuntimeError``, and what `check` throws, which is called between repetitions.
    public func prompt(_ tokens: Int, repetitions: Int, check: () throws -> Void) throws -> Result {
        let decoder = try model.makeDecoder(contextLength: tokens)
        let prompt = randomTokens(tokens)
        // Memory is touched and caches are warm before the clock runs.
        try decoder.advance(by: Array(prompt.prefix(256)))
        return Result(
            name: "pp\(tokens)",
            samples: try (0..<repetitions).map { _ in
                try check()
                decoder.rewind(to: 0)
                return try Self.rate(tokens) { try decoder.advance(by: prompt) }
            })
    }

    /// Generates tokens one by one.
    ///
    /// - Throws: as ``prompt(_:repetitions:check:)``.
    public func generation(_ tokens: Int, repetitions: Int, check: () throws -> Void) throws -> Result {
        let decoder = try model.makeDecoder(contextLength: tokens)
        var next = randomTokens(tokens).map { [$0] }
        next.reserveCapacity(tokens)
        try decoder.advance(by: next[0])
        return Result(
            name: "tg\(tokens)",
            samples: try (0..<repetitions).map { _ in
                decoder.rewind(to: 0)
                return try Self.rate(tokens) {
                    for token in next {
                        try check()
                        try decoder.advance(by: token)
                    }
                }
            })
    }

    /// Bytes per second that the model's threads read from memory, without doing anything with them: the median of some.
    public func readBandwidth(repetitions: Int = 5) -> Double {
        let task = ReadingTask(readings, kernels: model.execution.kernels)
        let rates = (0..<repetitions).map { _ in Self.rate(readings.count) { model.execution.team.run(task) } }
        return rates.sorted()[repetitions / 2]
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

/// Reads a buffer from end to end.
private final class ReadingTask: TeamTask {
    private static let part = 1 << 18
    private let buffer: Buffer<UInt8>
    private let kernels: Kernels

    init(_ buffer: Buffer<UInt8>, kernels: Kernels) {
        self.buffer = buffer
        self.kernels = kernels
    }

    func run(as member: inout Team.Member) {
        member.forEach(buffer.count, grain: Self.part) { range in
            _ = kernels.pointee.read(buffer.pointer + range.lowerBound, range.count)
        }
    }
}
