import ArgumentParser
import Foundation
import OneBitRuntime
import Tokenization

struct GenerateCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a text.",
        discussion: """
            The prompt comes from --prompt, from a --file or from standard input; an empty one starts from the \
            beginning-of-sequence token. Text goes to standard output as it is generated, speeds to standard error. The same seed, model and \
            prompt give the same text.

            EXAMPLES
              onebit generate packed --prompt "Once upon a time" --max-tokens 200
              onebit generate packed --prompt "Once upon a time" --temperature 1 --top-k 40 --seed 7
              onebit generate packed --file beginning.txt --no-echo
              echo "The capital of France is" | onebit generate packed --greedy --stop "." --json
            """
    )

    @Argument(help: "The model: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation

    @Option(name: [.short, .long], help: ArgumentHelp("Text to continue.", valueName: "text"))
    var prompt: String?

    @Option(name: [.short, .long], help: ArgumentHelp("File of the text to continue.", valueName: "file"))
    var file: URL?

    @OptionGroup var sampling: SamplingOptions

    @Flag(help: "Print the continuation without the prompt before it.")
    var noEcho = false

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption

    @Flag(name: [.short, .long], help: "Print no speeds.")
    var quiet = false

    func validate() throws {
        if prompt != nil, file != nil { throw ValidationError("Give --prompt or --file, not both.") }
    }

    mutating func locateModels() async throws { try await model.locate(quiet: quiet) }

    func run() throws {
        let model = try loadModel(directory: model.url, options: options)
        let tokenizer = try loadTokenizer(from: self.model.url)
        let prompt = try promptText()
        let tokens = try promptTokens(prompt, tokenizer: tokenizer, model: model)
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
            try Task.checkCancellation()
        }
        if json.json {
            try writeJSON(GenerateReport(prompt: prompt, text: text, info: info, seed: sampling.seed.seed))
        } else {
            try show("\n")
            if !quiet { StandardStreams.writeError(info.speeds) }
        }
    }

    private func promptTokens(
        _ prompt: String, tokenizer: any Tokenizer, model: any CausalLanguageModel
    ) throws -> [Int] {
        let tokens = try tokenizer.encode(prompt, addSpecialTokens: true)
        guard tokens.isEmpty, let begin = tokenizer.beginOfSequence ?? model.configuration.beginOfSequence else {
            return tokens
        }
        return [begin]
    }

    /// The prompt. The last line end of a file or of standard input, LF or CRLF, which editors and `echo` add, is not part
    /// of it.
    ///
    /// - Throws: `FileError`
    private func promptText() throws -> String {
        if let prompt { return prompt }
        var text = try file.map { try TextInput(file: $0) }?.readToEnd() ?? TextInput().readToEnd()
        // CRLF is one character.
        if let last = text.last, last == "\n" || last == "\r\n" { text.removeLast() }
        return text
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

extension GenerateCompletionInfo {
    /// How long it took and why it ended: a line for people.
    var speeds: String {
        "prompt \(Quantity.count(promptTokenCount)) tokens, \(Quantity.fixed(promptTokensPerSecond, digits: 1)) "
            + "tokens/s; generated \(Quantity.count(tokens.count)) tokens, "
            + "\(Quantity.fixed(tokensPerSecond, digits: 1)) tokens/s; ended by \(stopReason.rawValue)\n"
    }
}
