import ArgumentParser
import Foundation
import JSON
import Tokenization

struct TokenizeCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize",
        abstract: "Show a text as tokens, or tokens as text.",
        discussion: """
            Prints a line for each token: its id, and how the vocabulary spells it. With --chat the text is a conversation, \
            a JSON array of {"role": …, "content": …}, as the model's chat template writes it. Without a text it is read \
            from standard input.

            EXAMPLES
              onebit tokenize packed "Once upon a time"
              onebit tokenize packed --file chapter.txt --ids
              onebit tokenize packed --decode 1,403,407,261
              onebit tokenize model.gguf --chat '[{"role": "user", "content": "Hello"}]' --json
            """
    )

    @Argument(help: "A model or a tokenizer: a directory, a GGUF file, or a name on the hub.")
    var model: ModelLocation

    @Argument(help: "Text, in which special tokens count as such.")
    var text: String?

    @Option(help: ArgumentHelp("File with the text, UTF-8.", valueName: "file"))
    var file: URL?

    @Option(
        help: ArgumentHelp("Token ids to make text of, separated by commas or spaces.", valueName: "ids"),
        transform: tokenIDs(inList:))
    var decode: [Int]?

    @Option(help: ArgumentHelp("A conversation: JSON, or a file of it.", valueName: "messages"))
    var chat: String?

    @OptionGroup(title: "Chat template") var template: TemplateOptions

    @Flag(help: "With --chat: end with the answer's beginning, as before generation.")
    var addGenerationPrompt = false

    @Flag(help: "Leave out what the tokenizer puts around a text (BOS, EOS).")
    var noSpecialTokens = false

    @Flag(help: "Print ids alone, in one line.")
    var ids = false

    @OptionGroup var json: JSONOption

    func validate() throws {
        guard [text != nil, file != nil, decode != nil, chat != nil].count(where: \.self) <= 1 else {
            throw ValidationError("Give a text, --file, --decode or --chat, one of them.")
        }
        if chat == nil, addGenerationPrompt { throw ValidationError("--add-generation-prompt goes with --chat.") }
        if chat != nil, noSpecialTokens {
            throw ValidationError("A chat template writes its special tokens itself; leave --no-special-tokens out.")
        }
    }

    /// What `--json` prints.
    private struct Result: Encodable {
        struct Token: Encodable {
            let id: Int
            /// As the vocabulary spells it.
            let token: String
        }

        let text: String
        let ids: [Int]
        let tokens: [Token]
    }

    mutating func locateModels() async throws { try await model.locate(quiet: ids) }

    func run() throws {
        let tokenizer = try loadTokenizer(from: model.url)
        let (text, tokens) = try tokenized(by: tokenizer)
        if json.json {
            let pieces = tokens.map { Result.Token(id: $0, token: tokenizer.token(of: $0) ?? "") }
            return try writeJSON(Result(text: text, ids: tokens, tokens: pieces))
        }
        if decode != nil { return try StandardStreams.writeLine(text) }
        if ids { return try StandardStreams.writeLine(tokens.map(String.init).joined(separator: " ")) }
        var table = TextTable([.figure("id"), .text("token")])
        for id in tokens { table.append(["\(id)", tokenizer.token(of: id)?.debugDescription ?? ""]) }
        try StandardStreams.write(table.text)
        StandardStreams.writeError("\(Quantity.grouped(tokens.count)) tokens\n")
    }

    private func tokenized(by tokenizer: any Tokenizer) throws -> (text: String, tokens: [Int]) {
        if let decode {
            if let id = decode.first(where: { tokenizer.token(of: $0) == nil }) {
                throw ValidationError("The tokenizer has no token \(id); it has \(tokenizer.vocabularySize).")
            }
            return (tokenizer.decode(decode, skipSpecialTokens: false), decode)
        }
        if let chat {
            let messages = try Self.messages(chat)
            let format = try ChatTemplate(directory: model.url)
            let arguments = try template.arguments()
            return (
                try format.text(of: messages, addGenerationPrompt: addGenerationPrompt, arguments: arguments),
                try format.tokens(
                    of: messages, addGenerationPrompt: addGenerationPrompt, arguments: arguments, tokenizer: tokenizer)
            )
        }
        let text = try text ?? (file.map { try TextInput(file: $0) } ?? TextInput()).readToEnd()
        return (text, try tokenizer.encode(text, addSpecialTokens: !noSpecialTokens))
    }

    /// Messages in OpenAI's form, given as they are or in a file.
    private static func messages(_ argument: String) throws -> [ChatMessage] {
        let isFile = FileManager.default.fileExists(atPath: argument)
        guard isFile || argument.contains(where: { "[{".contains($0) }) else {
            throw FileError.cannotRead(file: argument, reason: "no such file or directory")
        }
        let data = Data((isFile ? try TextInput(file: URL(filePath: argument)).readToEnd() : argument).utf8)
        let source = isFile ? argument : "--chat"
        do {
            return try JSONDecoder().decode([ChatMessage].self, from: data)
        } catch {
            throw ValidationError(
                "\(source): expected a JSON array of messages with \"role\" and \"content\": \(describe(error))")
        }
    }

    private static func describe(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return error.localizedDescription }
        switch error {
        case .keyNotFound(let key, let context):
            return "message \(place(context.codingPath)) has no \"\(key.stringValue)\""
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            let place = place(context.codingPath)
            return context.debugDescription.trimmingCharacters(in: ["."]) + (place.isEmpty ? "" : " (\(place))") + "."
        @unknown default: return error.localizedDescription
        }
    }

    private static func place(_ path: [any CodingKey]) -> String {
        path.map { $0.intValue.map { "\($0 + 1)" } ?? $0.stringValue }.joined(separator: ".")
    }
}
