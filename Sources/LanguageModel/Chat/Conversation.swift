import Tokenization

/// What was asked and answered, and the tokens of it: the state of a chat.
struct Conversation {
    /// Questions and answers in turn.
    private(set) var turns: [ChatMessage]
    /// Questions in all, those that wait for their answers too.
    var questionsAsked = 0

    private let container: ModelContainer
    private let template: ChatTemplate
    private let instructions: [ChatMessage]
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

    /// What the answer to a question is generated from.
    ///
    /// - Throws: ``ChatSessionError/contextExceeded(tokens:maximum:)``
    mutating func begin(_ question: String) throws -> GenerationRequest.Input {
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
    mutating func end(_ question: String, answer: String, _ result: Result<GenerateCompletionInfo, any Error>) {
        switch result {
        case .success(let info):
            turns += [.user(question), .assistant(answer)]
            transcript = info.stopReason == .stopString ? nil : prompt + info.tokens
        case .failure(let error):
            guard error is CancellationError, !answer.isEmpty else { break }
            turns += [.user(question), .assistant(answer)]
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
    private func prompt(asking question: String) throws -> [Int] {
        let tokenizer = container.tokenizer
        if let transcript,
            let continuation = try template.continuation(of: messages, by: question, tokenizer: tokenizer)
        {
            return transcript + continuation
        }
        return try template.tokens(
            of: messages + [.user(question)], addGenerationPrompt: true, tokenizer: tokenizer)
    }
}
