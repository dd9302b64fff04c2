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
    /// Tokens that a context has, if nobody says otherwise and the model has as many.
    public static let standardContextLength = 4096

    /// Tokens that the conversation has room for, instructions included.
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
    ///   - generateParameters: how each answer is generated. Its seed is the first answer's; the next have the numbers
    ///     after it.
    ///   - contextLength: tokens to make room for, at most the model's own context; without one as many as that, but
    ///     not more than ``standardContextLength``. The memory for their keys and values is taken at the first
    ///     question.
    /// - Throws: `ChatTemplateError` or ``ChatSessionError/noChatTemplate`` for a model without a chat template that is
    ///   known or has a place for the instructions, ``GenerationError`` for parameters outside their ranges.
    public init(
        _ model: ModelContainer,
        instructions: String? = nil,
        history: [ChatMessage] = [],
        generateParameters: GenerateParameters = GenerateParameters(),
        contextLength: Int? = nil
    ) throws {
        let longest = model.model.configuration.maximumPositions
        self.contextLength = max(1, min(contextLength ?? Self.standardContextLength, longest))
        engine = model.engine
        conversation = Mutex(
            try Conversation(
                model, instructions: instructions, history: history, parameters: generateParameters,
                contextLength: self.contextLength))
    }

    deinit { engine.removeCache(cacheKey) }

    /// Questions and answers so far, without the instructions and without an answer that is still on its way.
    public var history: [ChatMessage] { conversation.withLock { $0.turns } }

    /// The answer to a question, when it is complete.
    ///
    /// - Throws: ``ChatSessionError/contextExceeded(tokens:maximum:)``, ``LanguageModelError``, `CancellationError`.
    public func respond(to question: String) async throws -> String {
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

    /// The answer to a question as it comes. Errors, those of ``respond(to:)``, come out of the stream.
    public func streamResponse(to question: String) -> AsyncThrowingStream<String, any Error> {
        ask(question).stream { if case .chunk(let text) = $0 { text } else { nil } }
    }

    /// The answer to a question as it comes, and at the end why it ended and how long it took.
    public func streamDetails(to question: String) -> AsyncThrowingStream<Generation, any Error> {
        ask(question).stream { $0 }
    }

    /// Forgets the conversation but for the instructions, when the questions asked so far are answered.
    public func clear() async {
        await withCheckedContinuation { continuation in
            conversation.withLock { $0.clear { continuation.resume() } }
        }
    }

    private func ask(_ question: String) -> BoundedChannel<Generation> {
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
            "With this question the conversation has \(tokens) tokens, and an answer has no room in its context of "
                + "\(maximum). Clear it, ask less, or begin it with a longer context."
        }
    }
}
