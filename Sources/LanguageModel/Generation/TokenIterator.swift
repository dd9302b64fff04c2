import Foundation
import ModelDescription

/// Continues a prompt token by token.
public struct TokenIterator {
    /// Tokens of the prompt that are fed at a time, so that a long prompt can be interrupted.
    private static let promptStep = 256

    /// Why it came to an end; nil while it has not.
    public private(set) var stopReason: StopReason?
    /// Tokens of the prompt that the decoder did not hold yet.
    public let promptTokenCount: Int
    /// Time that the prompt took, up to the logits that follow it.
    public private(set) var promptTime: Duration = .zero
    /// Time of the steps after the prompt.
    public private(set) var generateTime: Duration = .zero
    /// Single-token steps in that time.
    public private(set) var stepCount = 0

    private let decoder: any TokenDecoder
    /// Positions that were taken before.
    private let start: Int
    private let endOfSequence: Set<Int>
    private var sampler: Sampler
    /// Tokens chosen but not fed yet: the prompt, then the last token.
    private var pending: [Int]
    private var remaining: Int

    /// Begins a sequence, with room for the prompt and the most tokens that may follow.
    ///
    /// - Parameters:
    ///   - prompt: at least one token, at most the model's context.
    ///   - model: the model, which others may use at the same time.
    ///   - parameters: how the next token is chosen, and when to end.
    /// - Throws: ``GenerationError``, and what the model throws.
    public init(prompt: [Int], model: any CausalLanguageModel, parameters: GenerateParameters) throws {
        let maximum = model.configuration.maximumPositions
        guard prompt.count <= maximum else {
            throw GenerationError.promptTooLong(tokens: prompt.count, maximum: maximum)
        }
        try model.check(prompt)
        let room = parameters.room(after: prompt.count, maximum: maximum)
        try self.init(
            sequence: prompt, decoder: model.makeDecoder(contextLength: room), configuration: model.configuration,
            parameters: parameters)
    }

    /// Continues a sequence of which a decoder holds the beginning.
    ///
    /// - Parameters:
    ///   - sequence: the tokens so far, those that the decoder was fed in front; one more at least, and at most as many
    ///     as it has room for.
    ///   - decoder: holds the beginning, and is the iterator's alone until that is done.
    ///   - configuration: that of the decoder's model.
    ///   - stopTokens: tokens that end the text, besides the configuration's end-of-sequence tokens.
    ///   - parameters: how the next token is chosen, and when to end.
    /// - Throws: ``GenerationError``
    public init(
        sequence: [Int], decoder: any TokenDecoder, configuration: ModelConfiguration, stopTokens: Set<Int> = [],
        parameters: GenerateParameters
    ) throws {
        guard sequence.count <= decoder.contextLength else {
            throw GenerationError.promptTooLong(tokens: sequence.count, maximum: decoder.contextLength)
        }
        sampler = try Sampler(parameters, prompt: sequence)
        self.decoder = decoder
        start = decoder.position
        endOfSequence = stopTokens.union(configuration.endOfSequence)
        pending = Array(sequence.dropFirst(start))
        promptTokenCount = pending.count
        remaining = parameters.maxTokens ?? .max
    }

    /// The next token, or nil at the end; end-of-sequence tokens are not returned.
    ///
    /// - Throws: what the model throws, and `CancellationError` when the task that it runs in is cancelled.
    public mutating func next() throws -> Int? {
        guard stopReason == nil else { return nil }
        guard remaining > 0 else { return stop(.length) }
        guard decoder.position + pending.count <= decoder.contextLength else { return stop(.contextFull) }
        try feed()
        let token = try decoder.withLogits { sampler.next(logits: $0) }
        if endOfSequence.contains(token) { return stop(.endOfSequence) }
        // Not a new array for every token.
        pending.removeAll(keepingCapacity: true)
        pending.append(token)
        remaining -= 1
        return token
    }

    private mutating func stop(_ reason: StopReason) -> Int? {
        stopReason = reason
        return nil
    }

    /// Feeds what is pending.
    private mutating func feed() throws {
        let isPrompt = decoder.position < start + promptTokenCount
        let clock = ContinuousClock()
        let begin = clock.now
        if pending.count <= Self.promptStep {
            try Task.checkCancellation()
            try decoder.advance(by: pending)
        } else {
            for first in stride(from: 0, to: pending.count, by: Self.promptStep) {
                try Task.checkCancellation()
                try decoder.advance(by: Array(pending[first..<min(first + Self.promptStep, pending.count)]))
            }
        }
        if isPrompt {
            promptTime += clock.now - begin
        } else {
            generateTime += clock.now - begin
            stepCount += 1
        }
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
