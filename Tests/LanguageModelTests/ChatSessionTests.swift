import Foundation
import Synchronization
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel

@Suite("ChatSession")
struct ChatSessionTests {
    private let tokenizer = ChatTokenizer()

    /// The ids of a whole conversation, with an answer asked for.
    private func ids(_ messages: [ChatMessage]) throws -> [Int] {
        try ChatTemplate.chatML().tokens(of: messages, addGenerationPrompt: true, tokenizer: tokenizer)
    }

    @Test("Answers, history, and that a question costs its own tokens only")
    func turns() async throws {
        let model = try ScriptedModel(["One.", "Two.", "Three."])
        let session = try ChatSession(.chatML(model), instructions: "Count", generateParameters: .greedy)
        #expect(session.history.isEmpty)
        #expect(try await session.respond(to: "a?") == "One.")
        #expect(try await session.respond(to: "b?") == "Two.")
        let expected: [ChatMessage] = [.user("a?"), .assistant("One."), .user("b?"), .assistant("Two.")]
        #expect(session.history == expected)
        // Two prompts and then a token at a time; all together the conversation, once.
        let prompts = model.decodedTokens.filter { $0.count > 1 }
        #expect(prompts.first == (try ids([.system("Count"), .user("a?")])))
        #expect(prompts.count == 2)
        let whole = try ids([.system("Count")] + expected + [.user("x")])
        #expect(whole.starts(with: model.decodedTokens.joined()))

        await session.clear()
        #expect(session.history.isEmpty)
        #expect(try await session.respond(to: "a?") == "One.")
        // The instructions are still there, and so is the beginning of the same question: one token asks again.
        #expect(model.decodedTokens.suffix(5).map(\.count) == [1, 1, 1, 1, 1])
    }

    @Test("Streams give the same text, then how it went")
    func streams() async throws {
        let session = try ChatSession(.chatML(ScriptedModel(["First", "Second"])), generateParameters: .greedy)
        var text = ""
        for try await piece in session.streamResponse(to: "a") { text += piece }
        #expect(text == "First")
        text = ""
        var info: GenerateCompletionInfo?
        for try await part in session.streamDetails(to: "b") {
            switch part {
            case .chunk(let piece): text += piece
            case .info(let end): info = end
            }
        }
        #expect(text == "Second")
        #expect(info?.stopReason == .endOfSequence)
        #expect(info?.tokens == tokenizer.encode("Second", addSpecialTokens: false))
        // What closes the first answer, the question, and what asks for the second.
        let continuation = "<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n"
        let marks = 4
        #expect(info?.promptTokenCount == continuation.replacing(/<.*?>/, with: "").count + marks)
        #expect(session.history.count == 4)
    }

    @Test("After a stop string the conversation is read again from where it differs, and agrees with the history")
    func stopString() async throws {
        let model = try ScriptedModel(["It is so. STOP and more", "Yes."])
        let parameters = GenerateParameters(temperature: 0, stopStrings: [" STOP"])
        let session = try ChatSession(.chatML(model), generateParameters: parameters)
        #expect(try await session.respond(to: "a?") == "It is so.")
        #expect(try await session.respond(to: "b?") == "Yes.")
        let whole = try ids([.user("a?"), .assistant("It is so."), .user("b?")])
        let last = try #require(model.decodedTokens.last { $0.count > 1 })
        #expect(whole.suffix(last.count) == last[...])
        #expect(last.first == ChatTokenizer.end)
    }

    @Test("An earlier conversation goes on")
    func history() async throws {
        let model = try ScriptedModel(["One.", "Two."])
        let earlier: [ChatMessage] = [.user("a?"), .assistant("One.")]
        let session = try ChatSession(.chatML(model), history: earlier, generateParameters: .greedy)
        #expect(try await session.respond(to: "b?") == "Two.")
        #expect(session.history == earlier + [.user("b?"), .assistant("Two.")])
        #expect(model.decodedTokens.first == (try ids(earlier + [.user("b?")])))
    }

    @Test("Leaving the stream ends the answer, keeps its text, and the session goes on from there")
    func leavingStream() async throws {
        // At most six tokens come before the consumer has left.
        let gate = Gate()
        let model = try ScriptedModel([String(repeating: "long ", count: 50), "Short."]) { count in
            if count == 6 { gate.wait() }
        }
        let session = try ChatSession(.chatML(model), generateParameters: .greedy)
        var read = ""
        for try await piece in session.streamResponse(to: "a?") {
            read += piece
            if read.count == 3 { break }
        }
        gate.open()
        let answer = try await session.respond(to: "b?")
        #expect(answer == "Short.")
        try #require(session.history.count == 4)
        let kept = session.history[1].content
        #expect(kept.hasPrefix("lon") && kept.count <= 8)
        // The second prompt closes the cut answer.
        let tokens = model.decodedTokens.joined()
        #expect(try Array(tokens).contains(Array(ids([.assistant(kept), .user("b?")]).dropFirst(12 + kept.count))))
    }

    @Test("Cancelling the task ends the answer, before its first token as if it was not asked")
    func cancellation() async throws {
        let started = Gate()
        let model = try ScriptedModel(["abcdef", "abcdef"]) { count in
            if count == 3 {
                started.open()
                while !Task.isCancelled { usleep(1000) }
            }
        }
        let session = try ChatSession(.chatML(model), generateParameters: .greedy)
        let task = Task { try await session.respond(to: "a?") }
        try await started.opened()
        // Waits in the queue, and is cancelled there.
        let waiting = Task { try await session.respond(to: "never asked") }
        waiting.cancel()
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        await #expect(throws: CancellationError.self) { try await waiting.value }
        #expect(session.history == [.user("a?"), .assistant("abcd")])
    }

    @Test("Questions to one session are answered in the order in which they are asked")
    func queueing() async throws {
        let model = try ScriptedModel(["a", "b", "c", "d", "e", "f"]) { _ in usleep(200) }
        let session = try ChatSession(.chatML(model), generateParameters: .greedy)
        let streams = (0..<6).map { session.streamResponse(to: "\($0)") }
        for (index, stream) in streams.enumerated() {
            var text = ""
            for try await piece in stream { text += piece }
            #expect(text == String("abcdef".dropFirst(index).prefix(1)))
        }
        #expect(session.history.map(\.content) == ["0", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5", "f"])
    }

    @Test("Answers hold up neither Swift's threads nor each other")
    func threads() async throws {
        let gate = Gate()
        let model = try ModelContainer.chatML(ScriptedModel(["x"]) { _ in gate.wait() })
        // More than there are cores.
        let sessions = try (0..<ProcessInfo.processInfo.activeProcessorCount + 2).map { _ in
            try ChatSession(model, generateParameters: .greedy)
        }
        try await withThrowingTaskGroup(of: String.self) { group in
            for session in sessions { group.addTask { try await session.respond(to: "?") } }
            try await Task.sleep(for: .milliseconds(20))
            #expect(sessions[0].history.isEmpty)
            gate.open()
            for try await answer in group { #expect(answer == "x") }
        }
    }

    @Test("A conversation that outgrows its context is refused, and can be cleared")
    func overflow() async throws {
        let model = try ScriptedModel(["Yes.", "No."])
        let session = try ChatSession(.chatML(model), generateParameters: .greedy, contextLength: 60)
        #expect(session.contextLength == 60)
        #expect(try await session.respond(to: "a?") == "Yes.")
        let question = String(repeating: "b", count: 40)
        let length = try ids([.user("a?"), .assistant("Yes."), .user(question)]).count
        await #expect(throws: ChatSessionError.contextExceeded(tokens: length, maximum: 60)) {
            try await session.respond(to: question)
        }
        #expect(session.history.count == 2)
        // It still answers what fits, and after clear() all the more.
        await session.clear()
        #expect(try await session.respond(to: "c?") == "Yes.")
        #expect(try ChatSession(.chatML(model)).contextLength == 1000)
    }

    @Test("An error in the midst leaves the conversation as it was")
    func modelError() async throws {
        let calls = Mutex(0)
        let model = try ScriptedModel(["Well.", "Well."]) { _ in
            let call = calls.withLock { calls in
                calls += 1
                return calls
            }
            if call == 3 { throw LanguageModelError.nonFiniteLogits(position: 3) }
        }
        let session = try ChatSession(.chatML(model), generateParameters: .greedy)
        await #expect(throws: LanguageModelError.nonFiniteLogits(position: 3)) { try await session.respond(to: "a?") }
        #expect(session.history.isEmpty)
        #expect(try await session.respond(to: "b?") == "Well.")
    }

    @Test("Tools and variables reach the template, and so does what a tool answers")
    func templateArguments() async throws {
        let template = try ChatTemplate.written(
            "{{ tools[0].name }}{{ mood }}{% for m in messages %}{{ m.role[0] }}{{ m.content }}{% endfor %}")
        let arguments = try ChatTemplate.Arguments(
            tools: [.init(json: #"{"name": "add"}"#)], variables: ["mood": .string("calm", origin: .input)])
        let prompt = tokenizer.encode("addcalmuSum?a4t5", addSpecialTokens: false)
        let model = try ScriptedModel([])
        let container = ModelContainer(model: model, tokenizer: tokenizer, chatTemplate: template)
        let session = try ChatSession(
            container, history: [.user("Sum?"), .assistant("4")], templateArguments: arguments,
            contextLength: prompt.count)
        // The prompt has no room left for an answer: the error counts its tokens.
        await #expect(throws: ChatSessionError.contextExceeded(tokens: prompt.count, maximum: prompt.count)) {
            try await session.respond(to: .tool("5"))
        }
    }

    @Test("What cannot be a chat is refused at once")
    func refusals() throws {
        let model = try ScriptedModel([])
        let plain = ModelContainer(model: model, tokenizer: tokenizer)
        let error = #expect(throws: ChatSessionError.noChatTemplate) { try ChatSession(plain) }
        #expect(error?.errorDescription?.contains("`generate`") == true)
        let container = try ModelContainer.chatML(model)
        #expect(throws: GenerationError.self) {
            try ChatSession(container, generateParameters: GenerateParameters(topP: 3))
        }
        let noSystem = try ChatTemplate.written(
            "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
                + "{{ '[INST] ' + message.content + ' [/INST]' }}{% elif message.role == 'assistant' %}"
                + "{{ message.content + eos_token }}{% endif %}{% endfor %}")
        let strict = ModelContainer(model: model, tokenizer: tokenizer, chatTemplate: noSystem)
        #expect(throws: ChatTemplateError.self) { try ChatSession(strict, instructions: "Be kind") }
    }
}

/// Holds the threads of sessions until it is opened.
private final class Gate: Sendable {
    private let condition = NSCondition()
    private let isOpen = Mutex(false)

    func wait() {
        condition.lock()
        while !isOpen.withLock({ $0 }) { condition.wait() }
        condition.unlock()
    }

    /// Waits without holding a thread.
    func opened() async throws {
        while !isOpen.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
    }

    func open() {
        condition.lock()
        isOpen.withLock { $0 = true }
        condition.broadcast()
        condition.unlock()
    }
}
