import Tokenization

/// A part of one of several texts.
public struct BatchGeneration: Sendable {
    /// Number of the prompt that it belongs to, from 0.
    public let index: Int
    /// Text, or the end of this one.
    public let generation: Generation
}

/// Continues several prompts at once, which takes a packed model much less time than one after the other: it reads each
/// weight once for all of them.
///
/// Each text is, to the letter, what ``generate(prompt:model:tokenizer:parameters:didGenerate:)`` makes of its prompt
/// alone with the seed `parameters.seed + index`. A text that ends makes room for the next. Models that are not packed
/// continue one prompt after the other.
///
/// - Parameters:
///   - prompts: token ids of each, special tokens included.
///   - model: the model, which others may use at the same time.
///   - tokenizer: makes text of the tokens.
///   - parameters: how the next token is chosen, and when to end; the seed is the first prompt's.
///   - batchSize: most texts under way at a time; each takes memory for its keys and values.
///   - didGenerate: takes a prompt's number and a piece of its text; may throw to end the generation.
/// - Returns: how each went. A prompt's time is what passed from its entering to its first token, and a step's time
///   that of the step of all.
/// - Throws: ``GenerationError``, ``LanguageModelError``, what `didGenerate` throws, and `CancellationError` when the task
///   that it runs in is cancelled.
public func generate(
    prompts: [[Int]],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    batchSize: Int = 16,
    didGenerate: (_ index: Int, _ text: String) throws -> Void
) throws -> [GenerateCompletionInfo] {
    var infos = [GenerateCompletionInfo?](repeating: nil, count: prompts.count)
    try generateBatch(
        prompts: prompts, model: model, tokenizer: tokenizer, parameters: parameters, batchSize: batchSize
    ) { part in
        switch part.generation {
        case .chunk(let text): try didGenerate(part.index, text)
        case .info(let info): infos[part.index] = info
        }
    }
    return infos.compactMap { $0 }
}

/// Continues several prompts at once in the background, as a stream of pieces of their texts in which each text ends
/// with its ``Generation/info(_:)``.
///
///     let prompts = try ["Once upon", "The cat"].map { try tokenizer.encode($0, addSpecialTokens: true) }
///     for try await part in generate(prompts: prompts, model: model, tokenizer: tokenizer, parameters: .greedy) {
///         if case .chunk(let text) = part.generation { texts[part.index] += text }
///     }
///
/// Leaving the loop, or cancelling the task that it runs in, ends all of them after the token at hand. See
/// ``generate(prompts:model:tokenizer:parameters:batchSize:didGenerate:)``.
public func generate(
    prompts: [[Int]],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    batchSize: Int = 16
) -> AsyncThrowingStream<BatchGeneration, any Error> {
    GenerationQueue().stream { yield in
        try generateBatch(
            prompts: prompts, model: model, tokenizer: tokenizer, parameters: parameters, batchSize: batchSize
        ) { yield($0) }
    }
}

private func generateBatch(
    prompts: [[Int]],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    batchSize: Int,
    hand: (BatchGeneration) throws -> Void
) throws {
    guard batchSize > 0 else {
        throw GenerationError.invalidParameter(name: "batchSize", value: "\(batchSize)", expected: "1 or more")
    }
    for (index, prompt) in prompts.enumerated() {
        do {
            try model.check(prompt)
        } catch {
            throw GenerationError.prompt(index: index, reason: (error as? LanguageModelError)?.errorDescription ?? "\(error)")
        }
    }
    func handText(_ text: String, of index: Int) throws {
        if !text.isEmpty { try hand(BatchGeneration(index: index, generation: .chunk(text))) }
    }
    func ownParameters(_ index: Int) -> GenerateParameters {
        var own = parameters
        own.seed &+= UInt64(index)
        return own
    }
    for (index, prompt) in prompts.enumerated() {
        let info = try generate(
            prompt: prompt, model: model, tokenizer: tokenizer, parameters: ownParameters(index)
        ) { try handText($0, of: index) }
        try hand(BatchGeneration(index: index, generation: .info(info)))
    }
}
