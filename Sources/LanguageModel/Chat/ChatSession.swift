import Synchronization
import Tokenization

/// A conversation with a model.
///
///     let session = try ChatSession(try await loadModel(from: directory), instructions: "You are a gardener.")
///     let answer = try await session.respond(to: "When do I plant garlic?")
///     for try await text in session.streamResponse(to: "How deep?") { print(text, terminator: "") }
///
/// The model keeps what it has read: a question costs its own tokens and not those of the conversation before it.
/// Sessions share a model's weights and may answer at the same time; each keeps keys and values of its own. Questions
/// to one session are answered in the order in which they are asked, on a thread of the session's own.
///
/// To cancel the task that waits for an answer, or to leave its stream, ends the answer after the token at hand. What
/// was said stays in the conversation; where nothing was, the question goes too.
public final class ChatSession: Sendable {
    /// Tokens that a context has, if nobody says otherwise and the model has as many.
    public static let standardContextLength = 4096

    /// Tokens that the conversation has room for, instructions included.
    public let contextLength: Int

    private let queue = GenerationQueue()
    /// Used on the queue.
    private let conversation: Mutex<Conversation>
    /// Its turns, to be read while it answers.
    private let turns: Mutex<[ChatMessage]>

    /// Begins a conversation.
    ///
    /// - Parameters:
    ///   - model: the model, which other sessions may share.
    ///   - instructions: how the model is to behave: the system message.
    ///   - history: an earlier conversation to go on with, questions and answers in turn.
    ///   - generateParameters: how each answer is generated. Its seed is the first answer's; the next have the numbers
    ///     after it.
    ///   - contextLength: tokens to make room for, at most the model's own context; without one as many as that, but
    ///     not more than ``standardContextLength``. The memory for their keys and values is taken at the first
    ///     question.
    /// - Throws: `ChatTemplateError` or ``ChatSessionError/noChatTemplate`` for a model without a chat template that is
    ///   known or has a place for the instructions, ``GenerationError`` for parameters that mean nothing.
    public init(
        _ model: ModelContainer,
        instructions: String? = nil,
        history: [ChatMessage] = [],
        generateParameters: GenerateParameters = GenerateParameters(),
        contextLength: Int? = nil
    ) throws {
        let longest = model.model.configuration.maximumPositions
        self.contextLength = max(1, min(contextLength ?? Self.standardContextLength, longest))
        conversation = Mutex(
            try Conversation(
                model, instructions: instructions, history: history, parameters: generateParameters,
                contextLength: self.contextLength))
        turns = Mutex(history)
    }

    /// Questions and answers so far, without the instructions and without an answer that is still on its way.
    public var history: [ChatMessage] { turns.withLock { $0 } }

    /// The answer to a question, when it is complete.
    ///
    /// - Throws: ``ChatSessionError/contextExceeded(tokens:maximum:)``, ``LanguageModelError``, `CancellationError`.
    public func respond(to question: String) async throws -> String {
        try await queue.run { [self] in try answer(question) { _ in }.text }
    }

    /// The answer to a question as it comes. Errors, those of ``respond(to:)``, come out of the stream.
    public func streamResponse(to question: String) -> AsyncThrowingStream<String, any Error> {
        queue.stream { [self] yield in _ = try answer(question, didGenerate: yield) }
    }

    /// The answer to a question as it comes, and at the end why it ended and how long it took.
    public func streamDetails(to question: String) -> AsyncThrowingStream<Generation, any Error> {
        queue.stream { [self] yield in
            let info = try answer(question) { yield(.chunk($0)) }.info
            yield(.info(info))
        }
    }

    /// Forgets the conversation but for the instructions, when the questions asked so far are answered.
    public func clear() async {
        // Not to be cancelled, and nothing in it throws.
        await Task(executorPreference: queue) { [self] in
            conversation.withLock { conversation in
                conversation.clear()
                turns.withLock { $0 = [] }
            }
        }.value
    }

    private func answer(
        _ question: String, didGenerate: @Sendable (String) -> Void
    ) throws -> (text: String, info: GenerateCompletionInfo) {
        try conversation.withLock { conversation in
            defer { turns.withLock { [turns = conversation.turns] in $0 = turns } }
            return try conversation.answer(question, didGenerate: didGenerate)
        }
    }
}
