import Foundation
import Synchronization
import Tokenization

/// What a generation brings on its way.
public enum Generation: Sendable {
    /// Some more text; never a broken character.
    case chunk(String)
    /// The end, once, after the last chunk.
    case info(GenerateCompletionInfo)
}

/// A part of one of several texts.
public struct BatchGeneration: Sendable {
    /// Number of the prompt that it belongs to, from 0.
    public let index: Int
    /// Text, or the end of this one.
    public let generation: Generation
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

/// How a generation went.
public struct GenerateCompletionInfo: Sendable {
    /// Why it ended.
    public let stopReason: StopReason
    /// The tokens that were generated, those of a stop string included.
    public let tokens: [Int]
    /// The token that ended it, which is not among the others; nil where something else did.
    public let stopToken: Int?
    /// Tokens of the prompt that were read, those that a conversation has read before not counted.
    public let promptTokenCount: Int
    /// Tokens of the prompt that were read before, and were not read again.
    public let cachedTokenCount: Int
    /// Time that the prompt took, up to the logits that follow it.
    public let promptTime: Duration
    /// Time of the steps after the prompt, one token each.
    public let generateTime: Duration
    /// Number of these steps. The first token needs none: its logits are the prompt's.
    public let stepCount: Int

    /// Prompt tokens per second; 0 where none was read.
    public var promptTokensPerSecond: Double {
        promptTime > .zero ? Double(promptTokenCount) / (promptTime / .seconds(1)) : 0
    }
    /// Generated tokens per second: steps over their time; 0 without any.
    public var tokensPerSecond: Double {
        stepCount == 0 ? 0 : Double(stepCount) / max(generateTime / .seconds(1), 1e-9)
    }
}

/// What generation refuses.
public enum GenerationError: LocalizedError, Sendable, Equatable {
    /// A parameter outside its range.
    case invalidParameter(name: String, value: String, expected: String)
    /// The prompt leaves no room for an answer.
    case promptTooLong(tokens: Int, maximum: Int)
    /// One of several prompts is refused.
    case prompt(index: Int, reason: String)

    public var errorDescription: String? {
        switch self {
        case .invalidParameter(let name, let value, let expected):
            "\(name) is \(value); expected \(expected)."
        case .promptTooLong(let tokens, let maximum):
            "The prompt has \(tokens) tokens, more than the model's context of \(maximum). Shorten it."
        case .prompt(let index, let reason):
            "Prompt \(index + 1): \(reason)"
        }
    }
}

/// Continues a prompt in the calling thread.
///
/// - Parameters:
///   - prompt: token ids, special tokens included.
///   - model: the model, which others may use at the same time.
///   - tokenizer: makes text of the tokens.
///   - parameters: how the next token is chosen, and when to end.
///   - didGenerate: takes each piece of text; may throw to end the generation.
/// - Throws: ``GenerationError``, ``LanguageModelError``, what the model and `didGenerate` throw, and `CancellationError`
///   when the task that it runs in is cancelled.
public func generate(
    prompt: [Int],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    didGenerate: (String) throws -> Void
) throws -> GenerateCompletionInfo {
    let maximum = model.configuration.maximumPositions
    let limits = GenerationLimits(
        sequences: 1, positions: max(prompt.count, parameters.capacity(after: prompt.count, maximum: maximum)))
    var scheduler = GenerationScheduler(
        model: model, tokenizer: tokenizer, limits: limits, promptTokens: prompt.count)
    scheduler.add(GenerationRequest(index: 0) { .init(prompt: prompt, parameters: parameters) })
    return try run(&scheduler, count: 1) { try didGenerate($1) }[0]
}

/// Continues several prompts at once in the calling thread, which takes much less time than one after the other: each
/// weight is read once for all of them.
///
/// Each text of a packed model is, to the byte, what ``generate(prompt:model:tokenizer:parameters:didGenerate:)`` makes of
/// its prompt alone with the seed `parameters.seed + index`. A text that ends makes room for the next.
///
/// - Parameters:
///   - prompts: token ids of each, special tokens included.
///   - model: the model, which others may use at the same time.
///   - tokenizer: makes text of the tokens.
///   - parameters: how the next token is chosen, and when to end; the seed is the first prompt's.
///   - batchSize: most texts under way at a time; fewer are, where there is no memory for their keys and values.
///   - didGenerate: takes a prompt's number and a piece of its text; may throw to end the generation.
/// - Returns: how each went. Times are those of the passes that read its prompt, and of the steps that it took part in.
/// - Throws: ``GenerationError``, ``LanguageModelError``, what the model and `didGenerate` throw, and `CancellationError`
///   when the task that it runs in is cancelled.
public func generate(
    prompts: [[Int]],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    batchSize: Int = 16,
    didGenerate: (_ index: Int, _ text: String) throws -> Void
) throws -> [GenerateCompletionInfo] {
    let limits = try batchLimits(prompts, model: model, parameters: parameters, batchSize: batchSize)
    var scheduler = GenerationScheduler(
        model: model, tokenizer: tokenizer, limits: limits, promptTokens: prompts.reduce(1) { $0 + $1.count })
    for (index, prompt) in prompts.enumerated() {
        scheduler.add(GenerationRequest(index: index) { input(prompt, number: index, parameters) })
    }
    return try run(&scheduler, count: prompts.count, didGenerate: didGenerate)
}

/// Continues a prompt in the background, as a stream of text that ends with a ``Generation/info(_:)``.
///
///     for try await part in generate(prompt: tokens, model: model, tokenizer: tokenizer, parameters: .greedy) {
///         if case .chunk(let text) = part { print(text, terminator: "") }
///     }
///
/// See ``GenerationEngine/generate(prompt:parameters:stopTokens:)``; this is an engine for one text.
public func generate(
    prompt: [Int],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters
) -> AsyncThrowingStream<Generation, any Error> {
    GenerationEngine(model: model, tokenizer: tokenizer, limits: GenerationLimits(sequences: 1))
        .generate(prompt: prompt, parameters: parameters)
}

/// Continues several prompts at once in the background, as a stream of pieces of their texts in which each text ends
/// with its ``Generation/info(_:)``.
///
///     let prompts = ["Once upon", "The cat"].map { tokenizer.encode($0, addSpecialTokens: true) }
///     for try await part in generate(prompts: prompts, model: model, tokenizer: tokenizer, parameters: .greedy) {
///         if case .chunk(let text) = part.generation { texts[part.index] += text }
///     }
///
/// Leaving the loop, or cancelling the task that it runs in, ends all of them. See
/// ``generate(prompts:model:tokenizer:parameters:batchSize:didGenerate:)``.
public func generate(
    prompts: [[Int]],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    batchSize: Int = 16
) -> AsyncThrowingStream<BatchGeneration, any Error> {
    let channel = BoundedChannel<BatchGeneration>()
    do {
        let limits = try batchLimits(prompts, model: model, parameters: parameters, batchSize: batchSize)
        let engine = GenerationEngine(model: model, tokenizer: tokenizer, limits: limits)
        let remaining = Mutex(Set(prompts.indices))
        if prompts.isEmpty { channel.finish() }
        let requests = prompts.enumerated().map { index, prompt in
            let output = GenerationRequest.Output(
                isFull: { channel.isFull },
                send: { channel.send(BatchGeneration(index: index, generation: .chunk($0))) },
                finish: { result in
                    switch result {
                    case .success(let info): channel.send(BatchGeneration(index: index, generation: .info(info)))
                    case .failure(let error):
                        channel.cancel()
                        channel.finish(.failure(error))
                    }
                    let isLast = remaining.withLock { remaining in
                        remaining.remove(index)
                        return remaining.isEmpty
                    }
                    if isLast { channel.finish() }
                })
            return GenerationRequest(index: index, output: output) { input(prompt, number: index, parameters) }
        }
        engine.submit(requests, reader: channel)
    } catch {
        channel.finish(.failure(error))
    }
    return channel.stream { $0 }
}

/// What one of several prompts is generated from: each has a seed of its own.
private func input(_ prompt: [Int], number: Int, _ parameters: GenerateParameters) -> GenerationRequest.Input {
    var own = parameters
    own.seed &+= UInt64(number)
    return GenerationRequest.Input(prompt: prompt, parameters: own)
}

/// Limits for several prompts, which are checked before anything is generated.
private func batchLimits(
    _ prompts: [[Int]], model: any CausalLanguageModel, parameters: GenerateParameters, batchSize: Int
) throws -> GenerationLimits {
    guard batchSize > 0 else {
        throw GenerationError.invalidParameter(name: "batchSize", value: "\(batchSize)", expected: "1 or more")
    }
    try parameters.validate()
    for (index, prompt) in prompts.enumerated() {
        do {
            try model.check(prompt)
        } catch {
            throw GenerationError.prompt(
                index: index, reason: (error as? LanguageModelError)?.errorDescription ?? "\(error)")
        }
    }
    let maximum = model.configuration.maximumPositions
    let longest = prompts.map { parameters.capacity(after: $0.count, maximum: maximum) }.max()
    return GenerationLimits(sequences: max(1, min(batchSize, prompts.count)), positions: longest)
}

/// Runs requests to their ends, in the calling thread; their numbers are 0 ..< count.
private func run(
    _ scheduler: inout GenerationScheduler, count: Int, didGenerate: (Int, String) throws -> Void
) throws -> [GenerateCompletionInfo] {
    var infos = [GenerateCompletionInfo?](repeating: nil, count: count)
    try scheduler.run { event in
        switch event {
        case .text(let request, let text): try didGenerate(request.index, text)
        case .detail: break
        case .end(let request, let result): infos[request.index] = try result.get()
        }
    }
    return infos.compactMap(\.self)
}
