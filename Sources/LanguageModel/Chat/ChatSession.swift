import Foundation
import Synchronization
import Tokenization

/// A conversation with a model.
///
///     let session = try ChatSession(try await loadModel(from: directory), instructions: "You are a gardener.")
///     let answer = try await session.respond(to: "When do I plant garlic?")
///     for try await text in session.streamResponse(to: "How deep?") { print(text, terminator: "") }
///
/// The model keeps what it has read: a question costs its own tokens and not those of the conversation before it.
/// Sessions share a model's weights and the engine's batches; each keeps keys and values of its own, as long as there is
/// memory for them. Questions to one session are answered in the order in which they are asked; an answer waits for the
/// reader of the stream of the one before it.
///
/// To cancel the task that waits for an answer, or to leave its stream, ends the answer. The text up to there stays in the
/// conversation; where there is none, the question is dropped too.
public final class ChatSession: Sendable {
    /// Tokens of a context by default, where the model has as many.
    public static let standardContextLength = 4096

    /// Most tokens of the conversation, instructions included.
    public let contextLength: Int

    private let engine: GenerationEngine
    private let cacheKey = CacheKey()
    private let conversation: Mutex<Conversation>

    /// Begins a conversation.
    ///
    /// - Parameters:
    ///   - model: the model, which other sessions may share.
    ///   - instructions: how the model is to behave: the system message.
    ///   - history: an earlier conversation to continue, questions and answers in turn.
    ///   - templateArguments: tools, documents and variables that the model's chat template sees.
    ///   - generateParameters: how each answer is generated. Its seed is the first answer's; the next have the numbers
    ///     after it.
    ///   - contextLength: most tokens, at most the model's own context; without one as many as that, but
    ///     not more than ``standardContextLength``. The memory for their keys and values is taken at the first
    ///     question.
    /// - Throws: `ChatTemplateError` or ``ChatSessionError/noChatTemplate`` for a model without a chat template, or with one
    ///   that has no place for the instructions or the history, ``GenerationError`` for parameters outside their ranges.
    public init(
        _ model: ModelContainer,
        instructions: String? = nil,
        history: [ChatMessage] = [],
        templateArguments: ChatTemplate.Arguments = .none,
        generateParameters: GenerateParameters = GenerateParameters(),
        contextLength: Int? = nil
    ) throws {
        let longest = model.model.configuration.maximumPositions
        self.contextLength = max(1, min(contextLength ?? Self.standardContextLength, longest))
        engine = model.engine
        conversation = Mutex(
            try Conversation(
                model, instructions: instructions, history: history, templateArguments: templateArguments,
                parameters: generateParameters, contextLength: self.contextLength))
    }

    deinit { engine.removeCache(cacheKey) }

    /// Questions and answers so far, without the instructions and without an answer that is still on its way.
    public var history: [ChatMessage] { conversation.withLock { $0.turns } }

    /// The answer to a question, when it is complete.
    ///
    /// - Throws: ``ChatSessionError/contextExceeded(tokens:maximum:)``, ``LanguageModelError``, `CancellationError`.
    public func respond(to question: String) async throws -> String { try await respond(to: .user(question)) }

    /// The answer to a message, a tool's say, when it is complete.
    ///
    /// - Throws: what ``respond(to:)-(String)`` throws.
    public func respond(to question: ChatMessage) async throws -> String {
        // The engine would begin to answer before it hears that nobody waits.
        try Task.checkCancellation()
        let channel = ask(question)
        var text = ""
        while let part = try await channel.next() {
            switch part {
            case .chunk(let piece): text += piece
            case .info: return text
            }
        }
        throw CancellationError()
    }

    /// The answer to a question as it comes. Errors, those of ``respond(to:)-(String)``, come out of the stream.
    public func streamResponse(to question: String) -> AsyncThrowingStream<String, any Error> {
        streamResponse(to: .user(question))
    }

    /// The answer to a message as it comes.
    public func streamResponse(to question: ChatMessage) -> AsyncThrowingStream<String, any Error> {
        ask(question).stream { if case .chunk(let text) = $0 { text } else { nil } }
    }

    /// The answer to a question as it comes, and at the end why it ended and how long it took.
    public func streamDetails(to question: String) -> AsyncThrowingStream<Generation, any Error> {
        streamDetails(to: .user(question))
    }

    /// The answer to a message as it comes, and at the end why it ended and how long it took.
    public func streamDetails(to question: ChatMessage) -> AsyncThrowingStream<Generation, any Error> {
        ask(question).stream { $0 }
    }

    /// Forgets the conversation but for the instructions, when the questions asked so far are answered.
    public func clear() async {
        await withCheckedContinuation { continuation in
            conversation.withLock { $0.clear { continuation.resume() } }
        }
    }

    private func ask(_ question: ChatMessage) -> BoundedChannel<Generation> {
        let channel = BoundedChannel<Generation>()
        let answer = Mutex("")
        conversation.withLock { $0.questionsAsked += 1 }
        let stream = GenerationRequest.Output(channel)
        let output = GenerationRequest.Output(
            isFull: stream.isFull,
            send: { text in
                answer.withLock { $0 += text }
                stream.send(text)
            },
            finish: { [self] result in
                let text = answer.withLock { $0 }
                conversation.withLock { $0.end(question, answer: text, result) }
                stream.finish(result)
            })
        let request = GenerationRequest(cacheKey: cacheKey, output: output) { [self] in
            try conversation.withLock { try $0.begin(question) }
        }
        engine.submit([request], reader: channel)
        return channel
    }
}

/// What a chat refuses.
public enum ChatSessionError: LocalizedError, Sendable, Equatable {
    /// The model was put together without a chat template.
    case noChatTemplate
    /// The conversation has outgrown its context. The question was not asked, and the session can still be used.
    case contextExceeded(tokens: Int, maximum: Int)

    public var errorDescription: String? {
        switch self {
        case .noChatTemplate:
            "The model has no chat template. To continue a text, `generate` works without one."
        case .contextExceeded(let tokens, let maximum):
            "With this question the conversation is \(tokens) tokens long, which leaves no room for an answer in its context "
                + "of \(maximum). Clear it, ask a shorter question, or begin it with a longer context."
        }
    }
}

/// What was asked and answered, and the tokens of it: the state of a chat.
struct Conversation {
    /// Questions and answers in turn.
    private(set) var turns: [ChatMessage]
    /// Questions in all, those that wait for their answers too.
    var questionsAsked = 0

    private let container: ModelContainer
    private let template: ChatTemplate
    private let instructions: [ChatMessage]
    private let arguments: ChatTemplate.Arguments
    private let parameters: GenerateParameters
    private let contextLength: Int
    private let stopTokens: Set<Int>

    /// The prompt of the answer that is on its way.
    private var prompt: [Int] = []
    /// All tokens up to the end of the last answer, as they were generated. Nil where `turns` differ from them: nothing was
    /// generated yet, or the answer was cut.
    private var transcript: [Int]?
    private var questionsAnswered = 0
    /// Answers since the beginning, each with a seed of its own.
    private var answerCount: UInt64 = 0
    /// What waits to clear the conversation, each until so many questions are answered.
    private var clearings: [(after: Int, didClear: () -> Void)] = []

    /// - Throws: `ChatTemplateError` where there is no template or it has no place for the messages.
    init(
        _ container: ModelContainer, instructions: String?, history: [ChatMessage],
        templateArguments: ChatTemplate.Arguments, parameters: GenerateParameters, contextLength: Int
    ) throws {
        self.container = container
        self.instructions = instructions.map { [.system($0)] } ?? []
        arguments = templateArguments
        self.contextLength = contextLength
        turns = history
        template = try container.chatTemplate
        let end = try template.answerEnd(tokenizer: container.tokenizer, arguments: arguments)
        stopTokens = Set(end.tokens)
        var parameters = parameters
        parameters.stopStrings += end.strings
        self.parameters = parameters
        try parameters.validate()
        _ = try template.text(of: messages + [.user("")], addGenerationPrompt: true, arguments: arguments)
    }

    /// What the answer to a question is generated from.
    ///
    /// - Throws: ``ChatSessionError/contextExceeded(tokens:maximum:)``
    mutating func begin(_ question: ChatMessage) throws -> GenerationRequest.Input {
        prompt = try prompt(asking: question)
        guard prompt.count < contextLength else {
            throw ChatSessionError.contextExceeded(tokens: prompt.count, maximum: contextLength)
        }
        var parameters = parameters
        parameters.seed &+= answerCount
        answerCount += 1
        return GenerationRequest.Input(
            prompt: prompt, parameters: parameters, stopTokens: stopTokens, capacity: contextLength,
            continuesPrompt: false)
    }

    /// Keeps question and answer. Of a cancelled answer it keeps the text up to there; where there is none, or an error
    /// ends it, the conversation is as it was.
    mutating func end(_ question: ChatMessage, answer: String, _ result: Result<GenerateCompletionInfo, any Error>) {
        switch result {
        case .success(let info):
            turns += [question, .assistant(answer)]
            transcript = info.stopReason == .stopString ? nil : prompt + info.tokens
        case .failure(let error):
            guard error is CancellationError, !answer.isEmpty else { break }
            turns += [question, .assistant(answer)]
            transcript = nil
        }
        questionsAnswered += 1
        clearWhereDue()
    }

    /// Begins anew, when the questions asked so far are answered.
    mutating func clear(didClear: sending @escaping () -> Void) {
        clearings.append((questionsAsked, didClear))
        clearWhereDue()
    }

    private mutating func clearWhereDue() {
        while let clearing = clearings.first, clearing.after <= questionsAnswered {
            clearings.removeFirst()
            turns = []
            transcript = nil
            answerCount = 0
            clearing.didClear()
        }
    }

    private var messages: [ChatMessage] { instructions + turns }

    /// The tokens of the conversation with one more question: the transcript and what follows it, where the format leaves
    /// earlier turns as they are.
    private func prompt(asking question: ChatMessage) throws -> [Int] {
        let tokenizer = container.tokenizer
        if let transcript,
            let continuation = try template.continuation(
                of: messages, by: question, arguments: arguments, tokenizer: tokenizer)
        {
            return transcript + continuation
        }
        return try template.tokens(
            of: messages + [question], addGenerationPrompt: true, arguments: arguments, tokenizer: tokenizer)
    }
}
