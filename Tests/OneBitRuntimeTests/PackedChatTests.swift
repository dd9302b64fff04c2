import Foundation
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel
@testable import OneBitRuntime

@Suite("ChatSession of a packed model")
struct PackedChatTests {
    private let tiny: TinyPackedModel
    private let container: ModelContainer
    private let parameters = GenerateParameters(maxTokens: 12, temperature: 1, topP: 1, seed: 3)

    init() throws {
        tiny = try TinyPackedModel(vocabularySize: ChatTokenizer().vocabularySize, maximumPositions: 400)
        container = try .chatML(tiny.model())
    }

    /// Text and tokens of an answer.
    private func ask(_ session: ChatSession, _ question: String) async throws -> (text: String, tokens: [Int]) {
        var text = ""
        for try await part in session.streamDetails(to: question) {
            switch part {
            case .chunk(let piece): text += piece
            case .info(let info): return (text, info.tokens)
            }
        }
        throw CancellationError()
    }

    @Test("Turn by turn gives what the whole conversation read at once gives")
    func multiTurn() async throws {
        let tokenizer = ChatTokenizer()
        let template = try container.chatTemplate
        let session = try ChatSession(container, instructions: "x", generateParameters: parameters)
        var messages: [ChatMessage] = [.system("x"), .user("Who?")]
        var transcript = try template.tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
        for turn in 0..<4 {
            let answer = try await ask(session, messages.last!.content)
            var own = parameters
            own.seed += UInt64(turn)
            let alone = try generate(
                prompt: transcript, model: container.model, tokenizer: tokenizer, parameters: own
            ) { _ in }
            let end = alone.tokens.firstIndex(of: ChatTokenizer.end) ?? alone.tokens.count
            #expect(answer.tokens == Array(alone.tokens[..<end]), "turn \(turn)")
            messages.append(.assistant(answer.text))
            let next = "And \(turn)?"
            transcript += answer.tokens
            transcript += try #require(try template.continuation(of: messages, by: .user(next), tokenizer: tokenizer))
            messages.append(.user(next))
        }
    }

    @Test("A cut answer and an earlier one are read again as they stand in the history")
    func rewinding() async throws {
        var parameters = parameters
        parameters.stopStrings = ["e", "a", "S", " "]
        let session = try ChatSession(container, generateParameters: parameters)
        for question in ["Who?", "What?", "Where?"] {
            let before = session.history
            parameters.seed = 3 + UInt64(before.count / 2)
            let fresh = try ChatSession(container, history: before, generateParameters: parameters)
            let expected = try await fresh.respond(to: question)
            #expect(try await session.respond(to: question) == expected)
        }
    }

    @Test("Sessions of one model answer at the same time as they do alone")
    func concurrentSessions() async throws {
        let questions = ["a", "bb", "ccc", "dddd"]
        var expected: [[String]] = []
        for question in questions { expected.append(try await Self.answers(question, container, parameters)) }
        try await withThrowingTaskGroup(of: (Int, [String]).self) { group in
            for (index, question) in questions.enumerated() {
                group.addTask { [container, parameters] in
                    (index, try await Self.answers(question, container, parameters))
                }
            }
            for try await (index, answers) in group { #expect(answers == expected[index]) }
        }
    }

    private static func answers(
        _ question: String, _ container: ModelContainer, _ parameters: GenerateParameters
    ) async throws -> [String] {
        let session = try ChatSession(container, generateParameters: parameters)
        return [try await session.respond(to: question), try await session.respond(to: question + "?")]
    }

    @Test("A directory is loaded with what it has: a model without a template, or with one, or with a strange one")
    func loading() async throws {
        let tokenizer = #"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#
        try Data(tokenizer.utf8).write(to: tiny.directory.appending(path: "tokenizer.json"))
        let plain = try await loadModel(from: tiny.directory)
        #expect(plain.model.configuration.vocabularySize == ChatTokenizer().vocabularySize)
        #expect(throws: ChatTemplateError.notFound(directory: tiny.directory.path)) { try ChatSession(plain) }
        let file = tiny.directory.appending(path: "chat_template.jinja")
        try Data("{{ messages".utf8).write(to: file)
        let strange = try await loadModel(from: tiny.directory)
        #expect(throws: ChatTemplateError.self) { try ChatSession(strange) }
        await #expect(throws: (any Error).self) { try await loadModel(from: URL(filePath: "/nowhere")) }
    }
}
