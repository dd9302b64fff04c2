import Foundation
import OneBitRuntime

/// Asks a packed model one question and prints the answer as it comes, for at most ten seconds.
///
///     swift run -c release ChatApp DIRECTORY [QUESTION]
@main
struct ChatApp {
    static func main() async {
        let arguments = CommandLine.arguments.dropFirst()
        guard let path = arguments.first else {
            fail("usage: ChatApp DIRECTORY [QUESTION]", code: 64)
        }
        let question = arguments.dropFirst().first ?? "Once upon a time"
        do {
            let model = try await loadModel(from: URL(filePath: path))
            let answering = Task { try await answer(question, model: model) }
            let timer = Task {
                try await Task.sleep(for: .seconds(10))
                answering.cancel()
            }
            defer { timer.cancel() }
            try await answering.value
        } catch {
            fail("error: \(error.localizedDescription)", code: 1)
        }
    }

    /// Prints the answer. Cancelling the task that it runs in ends the stream and with it the model's work.
    private static func answer(_ question: String, model: ModelContainer) async throws {
        for try await part in try parts(of: question, model: model) {
            switch part {
            case .chunk(let text): show(text)
            case .info(let info): show("\n[\(info.tokens.count) tokens, \(Int(info.tokensPerSecond)) a second]\n")
            }
        }
        if Task.isCancelled { show("\n[that was long enough]\n") }
    }

    /// The answer of a model that was trained to chat; a model that was not continues the text.
    private static func parts(
        of question: String, model: ModelContainer
    ) throws -> AsyncThrowingStream<Generation, any Error> {
        let parameters = GenerateParameters(maxTokens: 200, temperature: 0.7)
        if (try? model.chatTemplate) != nil {
            let session = try ChatSession(
                model, instructions: "You answer in one sentence.", generateParameters: parameters)
            return session.streamDetails(to: question)
        }
        show(question)
        return try generate(
            prompt: model.tokenizer.encode(question, addSpecialTokens: true), model: model.model,
            tokenizer: model.tokenizer, parameters: parameters)
    }

    /// Prints at once, without waiting for the line's end.
    private static func show(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }

    private static func fail(_ message: String, code: Int32) -> Never {
        FileHandle.standardError.write(Data((message + "\n").utf8))
        exit(code)
    }
}
