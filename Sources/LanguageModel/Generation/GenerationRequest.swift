import Synchronization
import Tokenization

/// One text that is asked for.
package final class GenerationRequest: Sendable {
    /// What is generated from.
    package struct Input: Sendable {
        /// At least one token, special tokens included.
        package var prompt: [Int]
        /// How the next token is chosen, and when to end.
        package var parameters: GenerateParameters
        /// Tokens that end the text, besides the configuration's end-of-sequence tokens.
        package var stopTokens: Set<Int> = []
        /// Most positions of the sequence; nil is as many as the prompt and the most tokens that may follow it take.
        var capacity: Int?
        /// Whether the text continues the prompt's, or stands alone.
        package var continuesPrompt = true
        /// How many of the first generated tokens are the likeliest ones, whatever the parameters say.
        package var greedyTokens = 0
        /// How many tokens at the end of the prompt an earlier run has generated from the same input: what follows is then
        /// what that run would have gone on with.
        package var generatedTokens = 0
        /// How many of the likeliest tokens are told with each token that is chosen; nil tells nothing of tokens.
        package var tokenDetails: Int?
        /// The same of the prompt's tokens, which are then all read, whatever is known of them.
        package var promptDetails: Int?
        /// Whether events bring the text; the tokens are there at the end in any case.
        package var wantsText = true

        package init(prompt: [Int], parameters: GenerateParameters) {
            self.prompt = prompt
            self.parameters = parameters
        }

        init(
            prompt: [Int], parameters: GenerateParameters, stopTokens: Set<Int> = [], capacity: Int? = nil,
            continuesPrompt: Bool = true
        ) {
            self.prompt = prompt
            self.parameters = parameters
            self.stopTokens = stopTokens
            self.capacity = capacity
            self.continuesPrompt = continuesPrompt
        }
    }

    /// Where a request's text goes. Called by the engine's thread; none of these may block.
    package struct Output: Sendable {
        /// Whether the reader is so far behind that nothing more is to be generated for now.
        let isFull: @Sendable () -> Bool
        let send: @Sendable (String) -> Void
        /// Called once, at the end.
        let finish: @Sendable (Result<GenerateCompletionInfo, any Error>) -> Void
        /// Called before the text that a token settles.
        var sendDetail: (@Sendable (GenerationDetail) -> Void)?
    }

    /// Number that the caller knows it by.
    package let index: Int
    /// Where the sequence stays when it is done, for the next request with this key to go on from.
    let cacheKey: CacheKey?
    /// Whose kept sequences a prompt may begin with, and among which the sequence stays when it is done; nil keeps it to itself.
    let prefixScope: PrefixScope?
    /// Called once, when the requests before it that have the same key are done.
    let input: @Sendable () throws -> Input
    /// Nil where the caller takes the scheduler's events itself.
    let output: Output?

    private let cancelled = Atomic(false)

    package convenience init(index: Int, input: @escaping @Sendable () throws -> Input) {
        self.init(index: index, output: nil, input: input)
    }

    init(
        index: Int = 0, cacheKey: CacheKey? = nil, prefixScope: PrefixScope? = nil, output: Output?,
        input: @escaping @Sendable () throws -> Input
    ) {
        self.index = index
        self.cacheKey = cacheKey
        self.prefixScope = prefixScope
        self.output = output
        self.input = input
    }

    var isCancelled: Bool { cancelled.load(ordering: .acquiring) }

    func cancel() { cancelled.store(true, ordering: .releasing) }
}

/// The name of a sequence whose keys and values stay between requests.
struct CacheKey: Hashable, Sendable {
    private static let next = Atomic(0)
    private let number = next.add(1, ordering: .relaxed).newValue
}

/// Who shares the keys and values of prompts with each other: those who may know that another one's prompt began like theirs.
package struct PrefixScope: Hashable, Sendable {
    private enum Members: Hashable, Sendable {
        case named(String)
        case numbered(Int)
    }

    private static let next = Atomic(0)
    private let members: Members

    /// All requests that give this name.
    package init(_ name: String) { members = .named(name) }

    /// The texts of one request, among each other.
    init() { members = .numbered(Self.next.add(1, ordering: .relaxed).newValue) }

    /// Whether sequences are kept for later requests.
    var outlivesRequests: Bool { if case .named = members { true } else { false } }
}

/// The sequence of a request under way.
final class GenerationSequence {
    let request: GenerationRequest
    let id: SequenceID
    /// Most positions.
    let capacity: Int
    /// The prompt and what was generated.
    private(set) var tokens: [Int]
    /// Tokens that the model has read; the rest follows in the next passes.
    private(set) var readCount: Int
    /// Most tokens that the sequence ever had, those of earlier requests included.
    private(set) var longest: Int
    /// Whether its end was announced.
    var isDone = false
    /// How many of the likeliest tokens are told of each token; nil tells nothing.
    let tokenDetails: Int?
    /// The same of the prompt.
    let promptDetails: Int?

    private let promptCount: Int
    private let startCount: Int
    private let endOfSequence: Set<Int>
    private let maximumCount: Int
    private var sampler: Sampler
    private var text: GeneratedText?
    /// Tokens that are still to be the likeliest ones.
    private var greedyCount: Int
    /// The token that ended it.
    private var stopToken: Int?
    private var promptTime: Duration = .zero
    private var generateTime: Duration = .zero
    private var stepCount = 0

    /// - Parameters:
    ///   - input: what to generate from, already validated.
    ///   - readCount: tokens of the prompt that the sequence holds.
    ///   - longest: most tokens that it ever held.
    /// - Throws: ``GenerationError/invalidParameter(name:value:expected:)``
    init(
        _ request: GenerationRequest, input: GenerationRequest.Input, id: SequenceID, capacity: Int, readCount: Int,
        longest: Int, tokenizer: any Tokenizer, endOfSequence: [Int]
    ) throws {
        self.request = request
        self.id = id
        self.capacity = capacity
        self.readCount = readCount
        self.longest = max(longest, input.prompt.count)
        (tokenDetails, promptDetails) = (input.tokenDetails, input.promptDetails)
        tokens = input.prompt
        promptCount = input.prompt.count
        startCount = readCount
        self.endOfSequence = input.stopTokens.union(endOfSequence)
        let generated = input.generatedTokens
        let maximum = (promptCount - generated).addingReportingOverflow(input.parameters.maxTokens ?? .max)
        maximumCount = maximum.overflow ? .max : maximum.partialValue
        greedyCount = max(0, input.greedyTokens - generated)
        sampler = try Sampler(input.parameters, prompt: input.prompt)
        sampler.skip(max(0, generated - input.greedyTokens))
        if input.wantsText {
            text = GeneratedText(
                after: input.continuesPrompt ? input.prompt : [], tokenizer: tokenizer,
                stopStrings: input.parameters.stopStrings)
        }
        tokens.reserveCapacity(min(maximumCount, capacity, promptCount + 4096) + 1)
    }

    /// The prompt's token behind the first `count`; nil at its end.
    func promptToken(after count: Int) -> Int? { count < promptCount ? tokens[count] : nil }

    /// Whether tokens of the prompt are still to be read.
    var isReadingPrompt: Bool { readCount < promptCount }

    /// Tokens of the sequence once all that it was given so far is read.
    var length: Int { tokens.count }

    /// Why it is at its end; nil while it is not.
    var stopReason: StopReason? {
        if text?.isStopped == true { return .stopString }
        if stopToken != nil { return .endOfSequence }
        if tokens.count >= maximumCount { return .length }
        return tokens.count > capacity ? .contextFull : nil
    }

    /// Counts a pass that has read `count` of its tokens.
    func didRead(_ count: Int, time: Duration) {
        if isReadingPrompt {
            promptTime += time
        } else {
            generateTime += time
            stepCount += 1
        }
        readCount += count
    }

    /// Chooses the next token.
    func choose(from logits: UnsafeBufferPointer<Float>) -> Int {
        defer { greedyCount -= 1 }
        return greedyCount > 0 ? Sampler.likeliest(logits) : sampler.next(logits: logits)
    }

    /// Takes the token that was chosen, and returns the text that it settles.
    func append(_ token: Int) -> String {
        if endOfSequence.contains(token) {
            stopToken = token
            return ""
        }
        tokens.append(token)
        longest = max(longest, tokens.count)
        return text?.append(token) ?? ""
    }

    /// The text that was held back.
    func finish() -> String { text?.finish() ?? "" }

    /// Tokens that were generated so far.
    var generated: ArraySlice<Int> { tokens[promptCount...] }

    /// How it went, at the end.
    var info: GenerateCompletionInfo {
        GenerateCompletionInfo(
            stopReason: stopReason ?? .length,
            tokens: Array(generated),
            stopToken: stopToken,
            promptTokenCount: promptCount - startCount,
            cachedTokenCount: startCount,
            promptTime: promptTime,
            generateTime: generateTime,
            stepCount: stepCount
        )
    }
}
