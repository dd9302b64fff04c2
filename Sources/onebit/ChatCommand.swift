import ArgumentParser
import Foundation
import JSON
import OneBitRuntime
import Tokenization

struct ChatCommand: AsyncParsableCommand, ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a model.",
        discussion: """
            A line of standard input is a question; the answer goes to standard output as it is generated, prompts and \
            speeds to standard error. The model needs a chat template: onebit generate works without one. /help lists \
            what else may be typed.

            On a terminal, Ctrl-C stops the answer, and at the prompt ends the chat. Without a terminal it ends the \
            chat at once. The same seed, model and questions give the same answers.

            EXAMPLES
              onebit chat packed
              onebit chat packed --system "You answer in one sentence." --temperature 0.5 --context 2048
              onebit chat packed --greedy --json < questions.txt > answers.jsonl
              onebit chat packed --template-arguments '{"enable_thinking": false}' --tools tools.json
            """
    )

    @Argument(help: "The model: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation

    @Option(help: ArgumentHelp("How the model is to behave: the system message.", valueName: "text"))
    var system: String?

    @Option(
        help: ArgumentHelp(
            "Tokens that the conversation has room for; 4096, or the model's context if it is shorter.",
            valueName: "n"))
    var context: Int?

    @OptionGroup var template: TemplateOptions
    @OptionGroup var sampling: SamplingOptions
    @OptionGroup var options: ModelOptions

    @Flag(name: .long, help: "Print each answer as a line of JSON on standard output.")
    var json = false

    @Flag(name: [.short, .long], help: "Print no greeting and no speeds.")
    var quiet = false

    func validate() throws {
        if let context, context < 1 { throw ValidationError("--context must be 1 or more, not \(context).") }
    }

    mutating func locateModels() async throws { try await model.locate(quiet: quiet) }

    func run() async throws {
        let model = try ModelContainer(model: loadModel(directory: model.url, options: options), directory: model.url)
        let session = try ChatSession(
            model, instructions: system, templateArguments: template.arguments(),
            generateParameters: sampling.parameters, contextLength: context)
        let loop = ChatLoop(session: session, printsJSON: json, isQuiet: quiet)
        if loop.isTerminal, !quiet {
            StandardStreams.writeError(
                "\(self.model.name), \(session.contextLength) tokens of context. /help lists commands.\n")
        }
        try await loop.run()
    }
}

/// Questions from standard input, answers to standard output, until there are no more.
private struct ChatLoop: Sendable {
    let session: ChatSession
    let printsJSON: Bool
    let isQuiet: Bool
    /// Whether standard input is a terminal: prompts are shown, and Ctrl-C stops an answer instead of the program.
    let isTerminal = isatty(STDIN_FILENO) == 1

    /// - Throws: `CancellationError` for a Ctrl-C at the prompt, and for any without a terminal; what the session throws,
    ///   except that a terminal is told of a full context and of a line that is not UTF-8, and goes on.
    func run() async throws {
        let input = TextInput()
        while true {
            if isTerminal { StandardStreams.writeError("> ") }
            do {
                // Waits on one of Swift's threads, and nothing else has to run meanwhile.
                guard let line = try input.nextLine() else { break }
                switch ChatInput(line) {
                case .nothing: continue
                case .help: StandardStreams.writeError(ChatInput.commands)
                case .clear: await session.clear()
                case .exit: return
                case .unknown(let word):
                    StandardStreams.writeError("There is no \(word). /help lists what there is.\n")
                case .question(let question): try await answer(question)
                }
            } catch let error as FileError {
                guard isTerminal, case .notUTF8 = error else { throw error }
                StandardStreams.writeError(ErrorReport.text(of: error) + "\n")
            } catch let error as ChatSessionError where isTerminal {
                StandardStreams.writeError(ErrorReport.text(of: error) + " /clear starts over.\n")
            }
        }
        if isTerminal { StandardStreams.writeError("\n") }
    }

    private func answer(_ question: String) async throws {
        let (text, info) =
            isTerminal
            ? try await Interruption.interruptible { try await show(question) } : try await show(question)
        // Cancelled itself, and not the answer alone.
        try Task.checkCancellation()
        if printsJSON {
            let report = ChatReport(question: question, answer: text, info: info)
            try StandardStreams.writeLine(jsonText(report, onOneLine: true))
        } else {
            try StandardStreams.writeLine()
        }
        if !isQuiet { StandardStreams.writeError(info?.speeds ?? "stopped\n") }
    }

    /// Prints an answer as it comes. A cancelled one has no figures.
    private func show(_ question: String) async throws -> (text: String, info: GenerateCompletionInfo?) {
        var text = ""
        do {
            for try await part in session.streamDetails(to: question) {
                switch part {
                case .chunk(let piece):
                    text += piece
                    if !printsJSON { try StandardStreams.write(piece) }
                case .info(let info): return (text, info)
                }
            }
        } catch is CancellationError {}
        return (text, nil)
    }
}

/// What a line of a chat asks for.
enum ChatInput: Equatable {
    case question(String)
    case help
    case clear
    case exit
    /// A word behind a slash that is no command.
    case unknown(String)
    case nothing

    static let commands = """
        /clear   start over; the system message stays
        /exit    end, as Ctrl-D does
        /help    this list
        Ctrl-C   stop the answer; at the prompt, end

        """

    init(_ line: String) {
        switch line.trimmingCharacters(in: .whitespaces) {
        case "": self = .nothing
        case "/help": self = .help
        case "/clear": self = .clear
        case "/exit": self = .exit
        case let word where word.wholeMatch(of: /\/[a-z]+/) != nil: self = .unknown(word)
        default: self = .question(line)
        }
    }
}

/// What `chat --json` prints of an answer.
private struct ChatReport: Encodable {
    let question: String
    let answer: String
    /// Why it ended; `interrupted` for an answer that Ctrl-C stopped, which has no figures.
    let stopReason: String
    let tokens: [Int]?
    let promptTokens: Int?
    let promptTokensPerSecond: Double?
    let tokensPerSecond: Double?

    init(question: String, answer: String, info: GenerateCompletionInfo?) {
        self.question = question
        self.answer = answer
        stopReason = info?.stopReason.rawValue ?? "interrupted"
        tokens = info?.tokens
        promptTokens = info?.promptTokenCount
        promptTokensPerSecond = info?.promptTokensPerSecond
        tokensPerSecond = info?.tokensPerSecond
    }
}

extension ChatTemplateError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .notFound, .notFoundBesideTekken, .malformed, .template: "`onebit generate` works without one."
        default: nil
        }
    }
}
