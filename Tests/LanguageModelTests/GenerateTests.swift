import Foundation
import TestSupport
import Testing

@testable import LanguageModel

@Suite struct GenerateTests {
    private let tokenizer = LetterTokenizer()

    private func run(
        _ prompt: String, _ parameters: GenerateParameters, model: CountingModel
    ) throws -> (text: String, info: GenerateCompletionInfo) {
        var text = ""
        let info = try generate(
            prompt: tokenizer.encode(prompt, addSpecialTokens: false), model: model, tokenizer: tokenizer,
            parameters: parameters
        ) { text += $0 }
        return (text, info)
    }

    @Test("Generation ends after maxTokens and tells tokens and times")
    func length() throws {
        let (text, info) = try run("abc", GenerateParameters(maxTokens: 4, temperature: 0), model: CountingModel())
        #expect(text == "defg")
        #expect(info.tokens == [3, 4, 5, 6])
        #expect(info.stopReason == .length)
        #expect(info.promptTokenCount == 3)
        #expect(info.stepCount == 3)
        #expect(info.promptTokensPerSecond > 0 && info.tokensPerSecond > 0)
        let none = try run("abc", GenerateParameters(maxTokens: 0, temperature: 0), model: CountingModel())
        #expect(none.text.isEmpty && none.info.stopReason == .length && none.info.tokensPerSecond == 0)
    }

    @Test("Each of the configuration's end tokens ends the text and is not part of it")
    func endOfSequence() throws {
        let model = try CountingModel(endOfSequence: [25, 7])
        let (text, info) = try run("a", .greedy, model: model)
        #expect(text == "bcdefg")
        #expect(info.stopReason == .endOfSequence)
    }

    @Test("The tokenizer's end-of-sequence token ends the text too, whatever the configuration names")
    func endOfSequenceOfTokenizer() throws {
        let info = try generate(
            prompt: [0], model: CountingModel(), tokenizer: LetterTokenizer(endOfSequence: 4), parameters: .greedy
        ) { _ in }
        #expect(info.tokens == [1, 2, 3])
        #expect(info.stopReason == .endOfSequence)
    }

    @Test("A full context ends the text; a prompt longer than it is refused; so is none")
    func context() throws {
        let model = try CountingModel(maximumPositions: 6)
        let (text, info) = try run("abcd", .greedy, model: model)
        #expect(text == "efg")
        #expect(info.stopReason == .contextFull)
        #expect(throws: GenerationError.promptTooLong(tokens: 7, maximum: 6)) {
            try run("abcdefg", .greedy, model: model)
        }
        #expect(throws: LanguageModelError.noTokens) { try run("", .greedy, model: model) }
    }

    @Test("A stop string ends the text before it, also when it spans tokens")
    func stopStrings() throws {
        let parameters = GenerateParameters(temperature: 0, stopStrings: ["xy", "ghi", "hij"])
        let (text, info) = try run("abc", parameters, model: CountingModel())
        #expect(text == "def")
        #expect(info.stopReason == .stopString)
        #expect(info.tokens.last == 8)
    }

    @Test("Text that only began like a stop string is handed out in the end")
    func heldBackText() throws {
        let parameters = GenerateParameters(maxTokens: 5, temperature: 0, stopStrings: ["ghz"])
        #expect(try run("abc", parameters, model: CountingModel()).text == "defgh")
        var filter = StopStringFilter(["aab", ""])
        #expect(filter.append("xa") == "x")
        #expect(filter.append("a") == "")
        #expect(filter.append("a") == "a")
        #expect(filter.append("bc") == "")
        #expect(filter.isStopped && filter.finish() == "" && filter.append("more") == "")
        var unicode = StopStringFilter(["é!"])
        #expect(unicode.append("ée") == "ée")
        #expect(unicode.append("né") == "n")
        #expect(unicode.finish() == "é")
    }

    @Test("The stream gives the same text, then the figures")
    func stream() async throws {
        var text = ""
        var infos = 0
        let parameters = GenerateParameters(maxTokens: 9, temperature: 0)
        let stream = generate(prompt: [0], model: try CountingModel(), tokenizer: tokenizer, parameters: parameters)
        for try await part in stream {
            switch part {
            case .chunk(let chunk): text += chunk
            case .info(let info):
                infos += 1
                #expect(info.tokens.count == 9)
            }
        }
        #expect(text == "bcdefghij")
        #expect(infos == 1)
    }

    @Test("Errors come out of the stream")
    func streamError() async throws {
        let stream = generate(prompt: [], model: try CountingModel(), tokenizer: tokenizer, parameters: .greedy)
        await #expect(throws: LanguageModelError.noTokens) {
            for try await _ in stream {}
        }
    }

    @Test("A cancelled task ends the generation")
    func cancellation() async throws {
        let model = try CountingModel(maximumPositions: 1 << 30)
        let tokenizer = tokenizer
        // On a thread of its own: it would hold up one of the few that tests share.
        let task = Task {
            try await SerialTaskExecutor().run {
                try generate(prompt: [0], model: model, tokenizer: tokenizer, parameters: .greedy) { _ in }
            }
        }
        try await Task.sleep(for: .milliseconds(20))
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
