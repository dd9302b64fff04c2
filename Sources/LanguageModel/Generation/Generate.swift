import Foundation
import Tokenization

/// What a generation hands out on its way.
public enum Generation: Sendable {
    /// Some more text; never a broken character.
    case chunk(String)
    /// The end, once, after the last chunk.
    case info(GenerateCompletionInfo)
}

/// How a generation went.
public struct GenerateCompletionInfo: Sendable {
    /// Why it ended.
    public let stopReason: StopReason
    /// The tokens that were generated, those of a stop string included.
    public let tokens: [Int]
    /// Tokens of the prompt.
    public let promptTokenCount: Int
    /// Time that the prompt took, up to the logits that follow it.
    public let promptTime: Duration
    /// Time of the steps after the prompt, one token each.
    public let generateTime: Duration
    /// Number of these steps. The first token needs none: its logits are the prompt's.
    public let stepCount: Int

    /// Prompt tokens per second.
    public var promptTokensPerSecond: Double { Double(promptTokenCount) / max(promptTime / .seconds(1), 1e-9) }
    /// Generated tokens per second: steps over their time; 0 without any.
    public var tokensPerSecond: Double {
        stepCount == 0 ? 0 : Double(stepCount) / max(generateTime / .seconds(1), 1e-9)
    }
}

/// Continues a prompt and hands out the text as it comes.
///
/// - Parameters:
///   - prompt: token ids, special tokens included.
///   - model: the model, which others may use at the same time.
///   - tokenizer: makes text of the tokens.
///   - parameters: how the next token is chosen, and when to end.
///   - didGenerate: takes each piece of text; may throw to end the generation.
/// - Throws: ``GenerationError``, what the model and `didGenerate` throw, and `CancellationError` when the task that
///   it runs in is cancelled.
public func generate(
    prompt: [Int],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters,
    didGenerate: (String) throws -> Void
) throws -> GenerateCompletionInfo {
    // The prompt goes first, so that the text joins on to it: some tokenizers drop the first token's space.
    var generation = TextGeneration(
        try TokenIterator(prompt: prompt, model: model, parameters: parameters),
        text: GeneratedText(after: prompt, tokenizer: tokenizer, stopStrings: parameters.stopStrings))
    while let piece = try generation.next() {
        if !piece.isEmpty { try didGenerate(piece) }
    }
    return generation.info
}

/// Continues a prompt in the background, as a stream of text that ends with a ``Generation/info(_:)``.
///
///     for try await part in generate(prompt: tokens, model: model, tokenizer: tokenizer, parameters: .greedy) {
///         if case .chunk(let text) = part { print(text, terminator: "") }
///     }
///
/// Leaving the loop, or cancelling the task that it runs in, ends the generation after the token at hand. It runs on a
/// thread of its own.
public func generate(
    prompt: [Int],
    model: any CausalLanguageModel,
    tokenizer: any Tokenizer,
    parameters: GenerateParameters
) -> AsyncThrowingStream<Generation, any Error> {
    GenerationQueue().stream { yield in
        let info = try generate(prompt: prompt, model: model, tokenizer: tokenizer, parameters: parameters) {
            yield(.chunk($0))
        }
        yield(.info(info))
    }
}
