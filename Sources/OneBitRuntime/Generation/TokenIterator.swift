import Foundation

/// Continues a prompt token by token.
public struct TokenIterator {
    /// Tokens of the prompt that are fed at a time, so that a long prompt can be interrupted.
    private static let promptStep = 256

    /// Why it came to an end; nil while it has not.
    public private(set) var stopReason: StopReason?
    /// Tokens of the prompt.
    public let promptTokenCount: Int
    /// Time that the prompt took, up to the logits that follow it.
    public private(set) var promptTime: Duration = .zero
    /// Time of the steps after the prompt.
    public private(set) var generateTime: Duration = .zero
    /// Single-token steps in that time.
    public private(set) var stepCount = 0

    private let decoder: any TokenDecoder
    private let maximumPositions: Int
    private let endOfSequence: Set<Int>
    private var sampler: Sampler
    /// Tokens chosen but not fed yet: the prompt, then the last token.
    private var pending: [Int]
    private var remaining: Int

    /// - Parameters:
    ///   - prompt: at least one token, at most the model's context.
    /// - Throws: ``GenerationError``, and what the model throws.
    public init(prompt: [Int], model: any CausalLanguageModel, parameters: GenerateParameters) throws {
        maximumPositions = model.configuration.maximumPositions
        guard prompt.count <= maximumPositions else {
            throw GenerationError.promptTooLong(tokens: prompt.count, maximum: maximumPositions)
        }
        try model.check(prompt)
        sampler = try Sampler(parameters, prompt: prompt)
        decoder = try model.makeDecoder()
        endOfSequence = Set(model.configuration.endOfSequence)
        pending = prompt
        promptTokenCount = prompt.count
        remaining = parameters.maxTokens ?? .max
    }

    /// The next token, or nil at the end; end-of-sequence tokens are not returned.
    ///
    /// - Throws: what the model throws, and `CancellationError` when the task that it runs in is cancelled.
    public mutating func next() throws -> Int? {
        guard stopReason == nil else { return nil }
        guard remaining > 0 else { return stop(.length) }
        guard decoder.position + pending.count <= maximumPositions else { return stop(.contextFull) }
        let token = sampler.next(logits: try feed())
        if endOfSequence.contains(token) { return stop(.endOfSequence) }
        pending = [token]
        remaining -= 1
        return token
    }

    private mutating func stop(_ reason: StopReason) -> Int? {
        stopReason = reason
        return nil
    }

    /// Feeds what is pending; the logits that follow it.
    private mutating func feed() throws -> [Float] {
        let isPrompt = decoder.position < promptTokenCount
        let clock = ContinuousClock()
        let start = clock.now
        var logits: [Float] = []
        for first in stride(from: 0, to: pending.count, by: Self.promptStep) {
            try Task.checkCancellation()
            logits = try decoder.advance(by: Array(pending[first..<min(first + Self.promptStep, pending.count)]))
        }
        if isPrompt {
            promptTime += clock.now - start
        } else {
            generateTime += clock.now - start
            stepCount += 1
        }
        return logits
    }
}

/// Why a generation came to an end.
public enum StopReason: String, Sendable, Codable {
    /// The model chose a token that ends a text.
    case endOfSequence = "end_of_sequence"
    /// The text held a stop string.
    case stopString = "stop_string"
    /// As many tokens as were asked for.
    case length
    /// The model's context is full.
    case contextFull = "context_full"
}
