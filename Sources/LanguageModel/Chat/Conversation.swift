import Tokenization

/// A conversation, and what of it a decoder holds: the state of a chat.
struct Conversation {
    /// Questions and answers in turn.
    private(set) var turns: [ChatMessage]

    private let container: ModelContainer
    private let template: ChatTemplate
    private let instructions: [ChatMessage]
    private let parameters: GenerateParameters
    private let contextLength: Int
    private let stopTokens: Set<Int>

    /// Made for the first question.
    private var decoder: (any TokenDecoder)?
    /// The ids that the decoder was fed.
    private var fed: [Int] = []
    /// All ids up to the end of the last answer, as they were generated. Nil where that is not what `turns` say:
    /// nothing was said yet, or the answer was cut.
    private var spoken: [Int]?
    /// Answers since the beginning, each with a seed of its own.
    private var answerCount: UInt64 = 0

    /// - Throws: `ChatTemplateError` where there is no template or it has no place for the messages.
    init(
        _ container: ModelContainer, instructions: String?, history: [ChatMessage], parameters: GenerateParameters,
        contextLength: Int
    ) throws {
        self.container = container
        self.instructions = instructions.map { [.system($0)] } ?? []
        self.contextLength = contextLength
        turns = history
        template = try container.chatTemplate
        let end = try template.answerEnd(tokenizer: container.tokenizer)
        stopTokens = Set(end.tokens)
        var parameters = parameters
        parameters.stopStrings += end.strings
        self.parameters = parameters
        try parameters.validate()
        _ = try template.text(of: messages + [.user("")], addGenerationPrompt: true)
    }

    /// Asks, and keeps question and answer. Of a cancelled answer it keeps what was said; where nothing was, or an
    /// error ends it, the conversation is as it was.
    ///
    /// - Parameter didGenerate: takes the answer's text as it comes.
    /// - Throws: ``ChatSessionError/contextExceeded(tokens:maximum:)``, what the model throws, and `CancellationError`
    ///   when the task that it runs in is cancelled.
    mutating func answer(
        _ question: String, didGenerate: @Sendable (String) -> Void
    ) throws -> (text: String, info: GenerateCompletionInfo) {
        let prompt = try prompt(asking: question)
        guard prompt.count < contextLength else {
            throw ChatSessionError.contextExceeded(tokens: prompt.count, maximum: contextLength)
        }
        try Task.checkCancellation()
        let decoder = try decoder(for: prompt)
        var parameters = parameters
        parameters.seed &+= answerCount
        answerCount += 1
        var generation = TextGeneration(
            try TokenIterator(
                sequence: prompt, decoder: decoder, configuration: container.model.configuration,
                stopTokens: stopTokens, parameters: parameters),
            text: GeneratedText(tokenizer: container.tokenizer, stopStrings: parameters.stopStrings))
        defer { fed = Array((prompt + generation.tokens).prefix(decoder.position)) }
        var text = ""
        do {
            while let piece = try generation.next() {
                text += piece
                if !piece.isEmpty { didGenerate(piece) }
            }
        } catch let error as CancellationError {
            if !text.isEmpty { keep(question, text, spoken: nil) }
            throw error
        }
        let info = generation.info
        keep(question, text, spoken: info.stopReason == .stopString ? nil : prompt + info.tokens)
        return (text, info)
    }

    /// Begins anew.
    mutating func clear() {
        turns = []
        spoken = nil
        answerCount = 0
    }

    private var messages: [ChatMessage] { instructions + turns }

    private mutating func keep(_ question: String, _ answer: String, spoken: [Int]?) {
        turns += [.user(question), .assistant(answer)]
        self.spoken = spoken
    }

    /// The ids of the conversation with one more question: those that were spoken and what follows on them, where the
    /// format lets earlier turns be.
    private func prompt(asking question: String) throws -> [Int] {
        let tokenizer = container.tokenizer
        if let spoken,
            let continuation = try template.continuation(of: messages, by: question, tokenizer: tokenizer)
        {
            return spoken + continuation
        }
        return try template.tokens(
            of: messages + [.user(question)], addGenerationPrompt: true, tokenizer: tokenizer)
    }

    /// The decoder, which holds the longest beginning of a prompt that it was fed, but for the prompt's last token.
    private mutating func decoder(for prompt: [Int]) throws -> any TokenDecoder {
        guard let decoder else {
            let new = try container.model.makeDecoder(contextLength: contextLength)
            decoder = new
            return new
        }
        var common = 0
        while common < min(fed.count, prompt.count - 1), fed[common] == prompt[common] { common += 1 }
        if common < fed.count {
            decoder.rewind(to: common)
            fed.removeLast(fed.count - common)
        }
        return decoder
    }
}
