import ArgumentParser
import Foundation
import OneBitRuntime
import Tokenization

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a text.",
        discussion: """
            The prompt comes from --prompt or from standard input; an empty one starts from the beginning-of-sequence \
            token. Text goes to standard output as it is generated, speeds to standard error. The same seed, model and \
            prompt give the same text.

            EXAMPLES
              onebit generate packed --prompt "Once upon a time" --max-tokens 200
              onebit generate packed --prompt "Once upon a time" --temperature 1 --top-k 40 --seed 7
              echo "The capital of France is" | onebit generate packed --greedy --stop "." --json
            """
    )

    @Argument(help: "Directory of the model.")
    var model: URL

    @Option(
        name: [.short, .long], help: ArgumentHelp("Text to continue; standard input without it.", valueName: "text"))
    var prompt: String?

    @OptionGroup var sampling: SamplingOptions

    @Flag(help: "Print the continuation without the prompt before it.")
    var noEcho = false

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption

    @Flag(name: [.short, .long], help: "Print no speeds.")
    var quiet = false

    func run() throws {
        let model = try loadModel(directory: model, options: options)
        let tokenizer = try loadTokenizer(from: self.model)
        let prompt = prompt ?? Self.standardInput()
        let tokens = promptTokens(prompt, tokenizer: tokenizer, model: model)
        var text = ""
        // With the first piece of text and not before: a prompt that is refused leaves nothing on standard output.
        var echo = json.json || noEcho ? "" : prompt
        func show(_ chunk: String) throws {
            try StandardStreams.write(echo + chunk)
            echo = ""
        }
        let info = try generate(
            prompt: tokens, model: model, tokenizer: tokenizer, parameters: sampling.parameters
        ) { chunk in
            text += chunk
            if !json.json { try show(chunk) }
            try Interruption.check()
        }
        if json.json {
            try writeJSON(GenerateReport(prompt: prompt, text: text, info: info, seed: sampling.seed.seed))
        } else {
            try show("\n")
            if !quiet { StandardStreams.writeError(speeds(info)) }
        }
    }

    private func promptTokens(
        _ prompt: String, tokenizer: any Tokenizer, model: any CausalLanguageModel
    ) -> [Int] {
        let tokens = tokenizer.encode(prompt, addSpecialTokens: true)
        guard tokens.isEmpty, let begin = tokenizer.beginOfSequence ?? model.configuration.beginOfSequence else {
            return tokens
        }
        return [begin]
    }

    /// All of standard input, without the line end that `echo` adds.
    private static func standardInput() -> String {
        let data = FileHandle.standardInput.readDataToEndOfFile()
        let text = String(decoding: data, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    private func speeds(_ info: GenerateCompletionInfo) -> String {
        "prompt \(Quantity.count(info.promptTokenCount)) tokens, \(Quantity.fixed(info.promptTokensPerSecond, digits: 1)) "
            + "tokens/s; generated \(Quantity.count(info.tokens.count)) tokens, "
            + "\(Quantity.fixed(info.tokensPerSecond, digits: 1)) tokens/s; ended by \(info.stopReason.rawValue)\n"
    }
}

/// How the next token is chosen, and when to end.
struct SamplingOptions: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Tokens to generate at the most.", valueName: "n"))
    var maxTokens = 256

    @Option(help: ArgumentHelp("Divides the logits before the softmax; 0 is greedy.", valueName: "t"))
    var temperature: Float = 0.8

    @Option(help: ArgumentHelp("Keep the k likeliest tokens; 0 keeps all.", valueName: "k"))
    var topK = 0

    @Option(help: ArgumentHelp("Keep the likeliest tokens that together reach this probability.", valueName: "p"))
    var topP: Float = 0.95

    @Option(help: ArgumentHelp("Keep tokens at least this many times as likely as the likeliest.", valueName: "p"))
    var minP: Float = 0

    @Option(help: ArgumentHelp("Make tokens of late less likely; 1 leaves them be.", valueName: "r"))
    var repetitionPenalty: Float = 1

    @Flag(help: "Take the likeliest token every time.")
    var greedy = false

    @Option(help: ArgumentHelp("A string that ends the text before it. May be given several times.", valueName: "text"))
    var stop: [String] = []

    @OptionGroup var seed: SeedOption

    var parameters: GenerateParameters {
        GenerateParameters(
            maxTokens: maxTokens, temperature: greedy ? 0 : temperature, topK: topK, topP: topP, minP: minP,
            repetitionPenalty: repetitionPenalty, seed: seed.seed, stopStrings: stop)
    }
}

/// What `generate --json` prints.
private struct GenerateReport: Encodable {
    let prompt: String
    let text: String
    let tokens: [Int]
    let stopReason: StopReason
    let seed: UInt64
    let promptTokens: Int
    let promptTokensPerSecond: Double
    let tokensPerSecond: Double

    init(prompt: String, text: String, info: GenerateCompletionInfo, seed: UInt64) {
        self.prompt = prompt
        self.text = text
        tokens = info.tokens
        stopReason = info.stopReason
        self.seed = seed
        promptTokens = info.promptTokenCount
        promptTokensPerSecond = info.promptTokensPerSecond
        tokensPerSecond = info.tokensPerSecond
    }
}
