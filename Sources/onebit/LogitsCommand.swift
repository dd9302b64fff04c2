import ArgumentParser
import Foundation
import JSON
import OneBitRuntime
import TensorFiles
import Tokenization

struct LogitsCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "logits",
        abstract: "Print or save a model's logits, to compare another implementation with them.",
        discussion: """
            For a dense model, a float student or a packed one, of any family. Without --output or --json the most likely \
            next tokens of every position are printed. --output writes a safetensors file with input_ids, int64 [n], \
            and logits, float32 [n, vocabulary]; --hidden-states adds hidden_states.0 … hidden_states.L, float32 \
            [n, hidden size], in the order of transformers: 0 … L−1 enter the blocks, L is what the output head reads.

            EXAMPLES
              onebit logits packed --text "Once upon a time"
              onebit logits packed --tokens 1,403,407,261 --output logits.safetensors --hidden-states
              onebit logits packed --tokens 1 --json
            """
    )

    @Argument(help: "The model: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation

    @Option(help: ArgumentHelp("Text, tokenized with the special tokens that the tokenizer adds.", valueName: "text"))
    var text: String?

    @Option(
        help: ArgumentHelp("Token ids, separated by commas or spaces.", valueName: "ids"), transform: tokenIDs(inList:))
    var tokens: [Int]?

    @Option(name: [.short, .long], help: ArgumentHelp("Safetensors file to write.", valueName: "file"))
    var output: URL?

    @Flag(help: "Write the hidden states too; needs --output.")
    var hiddenStates = false

    @Flag(help: "Replace the output file if it exists.")
    var overwrite = false

    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption

    func validate() throws {
        guard (text == nil) != (tokens == nil) else {
            throw ValidationError("Give --text or --tokens, one of the two.")
        }
        if hiddenStates, output == nil { throw ValidationError("--hidden-states needs an --output to write them to.") }
    }

    mutating func locateModels() async throws { try await model.locate() }

    func run() throws {
        if let output, !overwrite, FileManager.default.fileExists(atPath: output.path) {
            throw FileError.destinationExists(path: output.path)
        }
        let model = try loadModel(directory: model.url, options: options)
        let tokenizer = tokens == nil || (output == nil && !json.json) ? try loadTokenizer(from: self.model.url) : nil
        let tokens = try tokens ?? tokenizer?.encode(text ?? "", addSpecialTokens: true) ?? []
        try model.check(tokens)
        let states =
            hiddenStates
            ? try model.states(of: tokens) : ModelStates(logits: try model.logits(of: tokens), hiddenStates: [])
        let logits = states.logits
        let vocabulary = model.configuration.vocabularySize
        if let output { try write(states, of: tokens, to: output) }
        if json.json {
            try writeJSON(LogitsReport(tokens: tokens, logits: logits, vocabulary: vocabulary))
        } else if output == nil, let tokenizer {
            try StandardStreams.write(table(tokens, logits, vocabulary: vocabulary, tokenizer: tokenizer))
        }
    }

    /// The five most likely next tokens of every position.
    private func table(_ tokens: [Int], _ logits: [Float], vocabulary: Int, tokenizer: any Tokenizer) -> String {
        var table = TextTable([.figure("position"), .text("token"), .text("next tokens and their logits")])
        func name(_ id: Int) -> String { "\(id) \(tokenizer.token(of: id) ?? "?")" }
        for (position, token) in tokens.enumerated() {
            let row = logits[position * vocabulary..<(position + 1) * vocabulary]
            let best = row.enumerated().sorted { ($0.element, $1.offset) > ($1.element, $0.offset) }.prefix(5)
            let next = best.map { "\(name($0.offset)) \(Quantity.fixed(Double($0.element), digits: 3))" }
            table.append(["\(position)", name(token), next.joined(separator: "   ")])
        }
        return table.text
    }

    private func write(_ states: ModelStates, of tokens: [Int], to output: URL) throws {
        let count = tokens.count
        let matrices =
            [("logits", states.logits)]
            + states.hiddenStates.enumerated().map { ("hidden_states.\($0.offset)", $0.element) }
        let ids = TensorDescription(name: "input_ids", elementType: .int64, shape: [count])
        let file = try InPlaceSafetensors(
            destination: output,
            tensors: [ids]
                + matrices.map {
                    TensorDescription(name: $0.0, elementType: .float32, shape: [count, $0.1.count / count])
                },
            metadata: ["format": "pt"], alignment: 8)
        tokens.map { Int64($0).littleEndian }.withUnsafeBytes { file.bytes(at: 0).copyMemory(from: $0) }
        for (index, matrix) in matrices.enumerated() {
            matrix.1.withUnsafeBytes { file.bytes(at: index + 1).copyMemory(from: $0) }
        }
        try file.commit(metadata: ["format": "pt"])
    }
}

/// What `logits --json` prints: a row of logits per token.
private struct LogitsReport: Encodable {
    let tokens: [Int]
    let logits: [[Float]]

    init(tokens: [Int], logits: [Float], vocabulary: Int) {
        self.tokens = tokens
        self.logits = tokens.indices.map { Array(logits[$0 * vocabulary..<($0 + 1) * vocabulary]) }
    }
}
