import Foundation
import ModelDescription
import Synchronization

/// What a step spends its time on.
public enum TrainingPhase: String, Sendable, Hashable, Codable, CaseIterable, CodingKeyRepresentable {
    case data, teacher, studentForward, head, backward, reduce, optimizer, checkpoint, validation
}

/// Adds up what the phases of a step take. On several threads, a phase's time is the mean over those that are in it.
final class PhaseTimer: Sendable {
    private let seconds = Mutex<[TrainingPhase: Double]>([:])

    /// - Parameter workers: Threads that run a phase side by side, each measuring its own part.
    func measure<Result>(_ phase: TrainingPhase, workers: Int = 1, _ body: () throws -> Result) rethrows -> Result {
        let begin = ContinuousClock.now
        defer {
            let taken = (ContinuousClock.now - begin) / .seconds(1) / Double(workers)
            seconds.withLock { $0[phase, default: 0] += taken }
        }
        return try body()
    }

    /// Measures what is part of one phase by the clock, and of another by what is done.
    func measure<Result>(
        _ phase: TrainingPhase, within outer: TrainingPhase, _ body: () throws -> Result
    ) rethrows -> Result {
        let begin = ContinuousClock.now
        defer {
            let taken = (ContinuousClock.now - begin) / .seconds(1)
            seconds.withLock {
                $0[phase, default: 0] += taken
                $0[outer, default: 0] -= taken
            }
        }
        return try body()
    }

    /// The sums since the last call.
    func take() -> [TrainingPhase: Double] {
        seconds.withLock { seconds in
            defer { seconds = [:] }
            return seconds
        }
    }
}

/// What is seen of a step besides its ``TrainingEvent``: times, rates and memory, which differ from run to run.
public struct StepMetrics: Sendable, Hashable {
    public var event: TrainingEvent
    /// Passes over the corpus so far.
    public var epoch: Double
    /// Of each group of parameters that is trained, in this step.
    public var learningRates: [ParameterGroup: Double]
    /// Tokens trained on so far.
    public var tokens: Int
    /// Tokens of this step.
    public var stepTokens: Int
    /// Wall-clock time of this step, checkpoint and validation behind it not counted.
    public var seconds: Double
    /// What is known of where that time went; and what checkpoint and validation behind the step before took.
    public var phases: [TrainingPhase: Double]
    /// Share of the latent weights whose sign this step turned; nil where no signs are trained.
    public var turnedSigns: Double?
    /// Floating-point operations that the model's mathematics asks for in this step, recomputation not counted: what model
    /// FLOPs utilization is defined by (Chowdhery et al. 2022, appendix B).
    public var operations: Double
    /// Largest memory so far: of the process on a CPU, of the device on another.
    public var peakBytes: Int

    public init(
        event: TrainingEvent, epoch: Double, learningRates: [ParameterGroup: Double], tokens: Int, stepTokens: Int,
        seconds: Double, phases: [TrainingPhase: Double] = [:], turnedSigns: Double? = nil, operations: Double,
        peakBytes: Int
    ) {
        self.event = event
        self.epoch = epoch
        self.learningRates = learningRates
        self.tokens = tokens
        self.stepTokens = stepTokens
        self.seconds = seconds
        self.phases = phases
        self.turnedSigns = turnedSigns
        self.operations = operations
        self.peakBytes = peakBytes
    }

    public var tokensPerSecond: Double { Double(stepTokens) / max(seconds, 1e-9) }
    public var operationsPerSecond: Double { operations / max(seconds, 1e-9) }
}

extension StepMetrics: Codable {
    private enum CodingKeys: CodingKey {
        case epoch, learningRates, tokens, stepTokens, seconds, phases, turnedSigns, operations, peakBytes
    }

    /// Flat: the event's keys stand beside the others.
    public func encode(to encoder: any Encoder) throws {
        try event.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(epoch, forKey: .epoch)
        try container.encode(learningRates, forKey: .learningRates)
        try container.encode(tokens, forKey: .tokens)
        try container.encode(stepTokens, forKey: .stepTokens)
        try container.encode(seconds, forKey: .seconds)
        try container.encode(phases, forKey: .phases)
        try container.encodeIfPresent(turnedSigns, forKey: .turnedSigns)
        try container.encode(operations, forKey: .operations)
        try container.encode(peakBytes, forKey: .peakBytes)
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            event: try TrainingEvent(from: decoder),
            epoch: try container.decode(Double.self, forKey: .epoch),
            learningRates: try container.decode([ParameterGroup: Double].self, forKey: .learningRates),
            tokens: try container.decode(Int.self, forKey: .tokens),
            stepTokens: try container.decode(Int.self, forKey: .stepTokens),
            seconds: try container.decode(Double.self, forKey: .seconds),
            phases: try container.decode([TrainingPhase: Double].self, forKey: .phases),
            turnedSigns: try container.decodeIfPresent(Double.self, forKey: .turnedSigns),
            operations: try container.decode(Double.self, forKey: .operations),
            peakBytes: try container.decode(Int.self, forKey: .peakBytes))
    }
}

/// What a model makes of held-out text in the middle of its training.
public struct ValidationResult: Sendable, Hashable, Codable {
    /// Per token.
    public var perplexity: Double
    /// The teacher's on the same tokens; nil where there is no teacher.
    public var teacherPerplexity: Double?
    /// KL(teacher ‖ student), nats per token.
    public var klDivergence: Double?
    /// Share of tokens at which teacher and student have the same likeliest token.
    public var topOneAgreement: Double?
    /// Tokens predicted.
    public var tokens: Int
    /// What the model says behind a fixed prompt, with a fixed seed.
    public var sample: String?
    /// Time that it took.
    public var seconds: Double

    public init(
        perplexity: Double, teacherPerplexity: Double? = nil, klDivergence: Double? = nil,
        topOneAgreement: Double? = nil, tokens: Int, sample: String? = nil, seconds: Double
    ) {
        self.perplexity = perplexity
        self.teacherPerplexity = teacherPerplexity
        self.klDivergence = klDivergence
        self.topOneAgreement = topOneAgreement
        self.tokens = tokens
        self.sample = sample
        self.seconds = seconds
    }
}

extension ModelConfiguration {
    /// Floating-point operations of a forward pass, per token of a sequence of `length`: two for each weight of the linear
    /// layers and of the output projection, and for each layer's scores and weighted sums over the (length + 1) / 2 tokens
    /// that a token sees on average, 2 · 2 · (length + 1) / 2 · heads · head size.
    ///
    /// A backward pass takes twice as many (Kaplan et al. 2020, §2.1).
    func forwardOperations(sequenceLength length: Int) -> Double {
        let weights = linears.reduce(0) { $0 + Double($1.inputs) * Double($1.outputs) }
        let head = Double(vocabularySize) * Double(hiddenSize)
        let attention = Double(layerCount) * Double(length + 1) * Double(attentionHeadCount * headSize)
        return 2 * (weights + head + attention)
    }
}
