import ArgumentParser
import Foundation
import OneBitRuntime

struct ChatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a model.",
        discussion: """
            A line of standard input is a question; the answer goes to standard output as it is generated, prompts and \
            speeds to standard error. The model needs a chat template of a known format: onebit generate works without \
            one. /help lists what else may be typed.

            On a terminal, Ctrl-C stops the answer, and at the prompt ends the chat. Without a terminal it ends the \
            chat at once. The same seed, model and questions give the same answers.

            EXAMPLES
              onebit chat packed
              onebit chat packed --system "You answer in one sentence." --temperature 0.5 --context 2048
              onebit chat packed --greedy --json < questions.txt > answers.jsonl
            """
    )

    @Argument(help: "Directory of the model.")
    var model: URL

    @Option(help: ArgumentHelp("How the model is to behave: the system message.", valueName: "text"))
    var system: String?

    @Option(
        help: ArgumentHelp(
            "Tokens that the conversation has room for; 4096, or the model's context if it is shorter.",
            valueName: "n"))
    var context: Int?

    @OptionGroup var sampling: SamplingOptions
    @OptionGroup var options: ModelOptions

    @Flag(name: .long, help: "Print each answer as a line of JSON on standard output.")
    var json = false

    @Flag(name: [.short, .long], help: "Print no greeting and no speeds.")
    var quiet = false

    func validate() throws {
        if let context, context < 1 { throw ValidationError("--context must be 1 or more, not \(context).") }
    }

    func run() async throws {
        let model = try ModelContainer(model: loadModel(directory: model, options: options), directory: model)
        let session = try ChatSession(
            model, instructions: system, generateParameters: sampling.parameters, contextLength: context)
        let loop = ChatLoop(session: session, printsJSON: json, isQuiet: quiet)
        if loop.isTerminal, !quiet {
            StandardStreams.writeError(
                "\(self.model.lastPathComponent), \(try model.chatTemplate.formatName), "
                    + "\(session.contextLength) tokens of context. /help lists commands.\n")
        }
        try await loop.run()
    }
}
