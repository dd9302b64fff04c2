import Tokenization

/// One of several sequences that are continued together.
final class BatchSequence {
    /// Number of its prompt.
    let index: Int
    let prompt: [Int]
    let cache: KeyValueCache
    /// The token that is chosen and not fed yet, at first the prompt's last.
    private(set) var pending: [Int]

    private let endOfSequence: Set<Int>
    private var sampler: Sampler
    private var text: GeneratedText
    private var remaining: Int
    private let begin = ContinuousClock.now
    private var promptTime: Duration = .zero
    private var generateTime: Duration = .zero
    private var stepCount = 0
    private var hasEnded = false

    /// - Parameter prompt: at least one token, at most as many as the cache has room for.
    init(
        index: Int, prompt: [Int], cache: KeyValueCache, tokenizer: any Tokenizer, endOfSequence: Set<Int>,
        parameters: GenerateParameters
    ) throws {
        self.index = index
        self.prompt = prompt
        self.cache = cache
        self.endOfSequence = endOfSequence
        pending = prompt.suffix(1)
        sampler = try Sampler(parameters, prompt: prompt)
        text = GeneratedText(after: prompt, tokenizer: tokenizer, stopStrings: parameters.stopStrings)
        remaining = parameters.maxTokens ?? .max
    }

    /// Why it is at its end; nil while it is not.
    var stopReason: StopReason? {
        if text.isStopped { return .stopString }
        if hasEnded { return .endOfSequence }
        if remaining == 0 { return .length }
        return cache.position == cache.capacity ? .contextFull : nil
    }

    /// Chooses the next token, and returns the text that it settles.
    ///
    /// - Parameter stepTime: time of the pass that the logits are from.
    func choose(from logits: UnsafeBufferPointer<Float>, stepTime: Duration) -> String {
        if text.tokens.isEmpty {
            promptTime = ContinuousClock.now - begin
        } else {
            generateTime += stepTime
            stepCount += 1
        }
        let token = sampler.next(logits: logits)
        if endOfSequence.contains(token) {
            hasEnded = true
            return ""
        }
        // Not a new array for every token.
        pending[0] = token
        remaining -= 1
        return text.append(token)
    }

    /// The text that was held back.
    func finish() -> String { text.finish() }

    /// How it went, at the end.
    var info: GenerateCompletionInfo {
        GenerateCompletionInfo(
            stopReason: stopReason ?? .length,
            tokens: text.tokens,
            promptTokenCount: prompt.count,
            promptTime: promptTime,
            generateTime: generateTime,
            stepCount: stepCount
        )
    }
}
