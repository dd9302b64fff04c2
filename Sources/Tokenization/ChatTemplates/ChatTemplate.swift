import Foundation
import JSON
import ModelFiles

/// A message of a conversation.
public struct ChatMessage: Sendable, Hashable, Codable {
    /// The author of a message.
    public enum Role: String, Sendable, Hashable, Codable, CaseIterable {
        /// Instructions to the model, before the conversation.
        case system
        /// The person or program that asks.
        case user
        /// The model.
        case assistant
    }

    public var role: Role
    public var content: String

    /// A message of `role`.
    public init(role: Role, content: String) {
        self.role = role
        self.content = content
    }

    /// Instructions to the model, before the conversation.
    public static func system(_ content: String) -> ChatMessage { ChatMessage(role: .system, content: content) }
    /// A question or request.
    public static func user(_ content: String) -> ChatMessage { ChatMessage(role: .user, content: content) }
    /// An answer of the model.
    public static func assistant(_ content: String) -> ChatMessage { ChatMessage(role: .assistant, content: content) }
}

/// Writes conversations in the format that a model was trained on.
///
/// A model's own template, a Jinja program, is not run but recognized: it has to do in a plain conversation exactly what one
/// of the known templates does, else it is refused. Nothing is written that only resembles the model's format.
///
/// What a message says is never read as a control token: `<|im_end|>` in a user's text is ten characters like any others.
/// Formats whose marks are plain text themselves (`[INST]` of LLaMA-2 and the first Mistral, `### Response:` of Alpaca)
/// cannot tell a message that spells a mark from the mark; nor can the model.
public struct ChatTemplate: Sendable {
    /// What ends an answer.
    public struct AnswerEnd: Sendable, Hashable {
        /// Ids of which each ends the answer.
        public let tokens: [Int]
        /// Texts of which each ends the answer: what the tokenizer has no token for.
        public let strings: [String]
    }

    /// What the format is called: `LLaMA-3.1`, `ChatML`.
    public var formatName: String { format.name }
    /// The day that formats with a date say it is.
    public var today = Date.now

    private let format: ChatFormat
    private let beginOfSequence: String
    private let endOfSequence: String

    /// Recognises the template of a model directory: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`
    /// (of several the one called `default`), else that of `chat_template.json`.
    ///
    /// - Throws: `ChatTemplateError` where there is none or it is not known, `TokenizerError` where a file is malformed,
    ///   `FileError` where it cannot be read.
    public init(directory: URL) throws {
        self = try withTokenizerErrors { try ChatTemplate(readFrom: directory) }
    }

    private init(readFrom directory: URL) throws {
        let format = try KnownTemplate.format(of: ChatTemplateSource(directory: directory))
        let configuration = try TokenizerConfiguration(directory: directory)
        func token(_ content: String?, _ piece: ChatFormat.Piece, _ name: String) throws -> String {
            if let content { return content }
            guard format.pieces.contains(piece) else { return "" }
            throw ChatTemplateError.missingToken(directory: directory.path, name: name)
        }
        beginOfSequence = try token(configuration.beginOfSequence, .beginOfSequence, "bos_token")
        endOfSequence = try token(configuration.endOfSequence, .endOfSequence, "eos_token")
        self.format = format
    }

    init(format: ChatFormat, beginOfSequence: String, endOfSequence: String) {
        self.format = format
        self.beginOfSequence = beginOfSequence
        self.endOfSequence = endOfSequence
    }

    /// The conversation as text, special tokens spelled out. `addGenerationPrompt` asks for an answer at its end.
    ///
    /// - Throws: `ChatTemplateError` where the format has no place for a message.
    public func text(of messages: [ChatMessage], addGenerationPrompt: Bool) throws -> String {
        try parts(of: messages, addGenerationPrompt: addGenerationPrompt).map(\.content).joined()
    }

    /// The conversation as token ids, BOS included where the format has it: nothing is to be added.
    ///
    /// They are the ids that Hugging Face's `apply_chat_template` gives, but for messages that spell control tokens, and for
    /// control tokens that remove the white space beside them (`lstrip`, `rstrip`), which the known families do not have.
    ///
    /// - Throws: `ChatTemplateError` where the format has no place for a message.
    public func tokens(
        of messages: [ChatMessage], addGenerationPrompt: Bool, tokenizer: any Tokenizer
    ) throws -> [Int] {
        try tokenizer.encode(parts(of: messages, addGenerationPrompt: addGenerationPrompt))
    }

    /// The ids that follow on an answer when the user goes on: what closes the answer, the user's message, and what asks for
    /// the next answer. Nil where the format writes earlier messages otherwise once there is a new one (Mistral moves the
    /// system message to the last question, Qwen3 drops an answer's reasoning): the whole conversation has to be encoded again.
    ///
    /// The model has read `tokens(of:addGenerationPrompt:)` of `messages` without the answer, and the answer's ids as they were
    /// generated, without the id that ended it. All together are then the ids of the whole conversation, as long as
    ///
    /// * the answer's text, encoded, gives the generated ids: a model may choose others that spell the same;
    /// * the answer has no white space at its ends, which some formats take away (of LLaMA-2, which puts a space before
    ///   answers itself, the generated space is that one);
    /// * the tokenizer makes no single token of an answer's first or last characters and the text that the format writes
    ///   beside them: line ends, spaces, and marks that the tokenizer has no token for.
    ///
    /// Where these differ, the model continues from the tokens that it read and generated; only the encoding of the same text
    /// differs.
    ///
    /// - Throws: `ChatTemplateError` where `messages` does not end in an answer, or the format has no place for a message.
    public func continuation(
        of messages: [ChatMessage], by question: String, tokenizer: any Tokenizer
    ) throws -> [Int]? {
        guard messages.last?.role == .assistant, let answer = messages.last?.content else {
            throw ChatTemplateError.nothingToContinue
        }
        let before = try conversation(Array(messages.dropLast()))
        let after = try conversation(messages + [.user(question)])
        let count = before.turns.count
        guard after.turns[..<count] == before.turns[...], after.turns[count].content.isSameAnswer(as: answer) else {
            return nil
        }
        let following = after.turns[count].suffix + after.turns[count + 1].parts + resolved(format.generationPrompt)
        // Behind an answer no tokenizer puts a space before a text: the letter stands for the answer.
        let anchor = PromptPart.text("x")
        let anchored = try tokenizer.encode([anchor] + following)
        let anchorIDs = try tokenizer.encode([anchor])
        return anchored.starts(with: anchorIDs) ? Array(anchored.dropFirst(anchorIDs.count)) : nil
    }

    /// What ends an answer: the first that stands behind one in the format, and EOS.
    ///
    /// - Throws: what `Tokenizer.encode` throws.
    public func answerEnd(tokenizer: any Tokenizer) throws -> AnswerEnd {
        var marks = format.assistant.suffix.compactMap { piece in
            if case .token(let content) = piece { content } else { nil }
        }
        if !endOfSequence.isEmpty, !marks.contains(endOfSequence) { marks.append(endOfSequence) }
        let ids = try marks.map { mark in try tokenizer.encode([.token(mark)]) }
        let tokens = zip(marks, ids).filter { tokenizer.id(of: $0) != nil && $1.count == 1 }
        let known = Set(tokens.map(\.0))
        var strings = marks.filter { !known.contains($0) }
        // Without a token behind answers the next heading ends them.
        if !format.assistant.suffix.contains(where: \.isToken), case .text(let heading) = format.user.prefix.first {
            strings.append(heading.trimmingCharacters(in: .newlines))
        }
        return AnswerEnd(tokens: tokens.flatMap(\.1), strings: strings)
    }

    private func parts(of messages: [ChatMessage], addGenerationPrompt: Bool) throws -> [PromptPart] {
        let asks = addGenerationPrompt || format.alwaysAddsGenerationPrompt
        return try conversation(messages).parts + (asks ? resolved(format.generationPrompt) : [])
    }

    private func conversation(_ messages: [ChatMessage]) throws -> ChatConversation {
        try format.check(messages)
        return ChatConversation(messages, format: format, resolve: resolved)
    }

    private func resolved(_ pieces: [ChatFormat.Piece]) -> [PromptPart] {
        pieces.map { piece in
            switch piece {
            case .beginOfSequence: .token(beginOfSequence)
            case .endOfSequence: .token(endOfSequence)
            case .token(let content): .token(content)
            case .text(let text): .text(text)
            case .today: .text(today.dayMonthYear)
            }
        }
    }
}

extension ChatFormat {
    /// Every piece that the format can write.
    fileprivate var pieces: [Piece] {
        opening + user.prefix + user.suffix + assistant.prefix + assistant.suffix + generationPrompt
    }

    /// Refuses messages that the format has no place for.
    fileprivate func check(_ messages: [ChatMessage]) throws {
        guard let first = messages.first else { throw ChatTemplateError.noMessages }
        let hasSystem = first.role == .system
        if hasSystem, case .unsupported = system { throw ChatTemplateError.systemUnsupported(format: name) }
        for (index, message) in messages.enumerated().dropFirst(hasSystem ? 1 : 0) {
            if message.role == .system { throw ChatTemplateError.systemNotFirst(index: index) }
            let isQuestionsTurn = (index - (hasSystem ? 1 : 0)).isMultiple(of: 2)
            if requiresAlternation, (message.role == .user) != isQuestionsTurn {
                throw ChatTemplateError.rolesDoNotAlternate(format: name, index: index, found: message.role)
            }
        }
    }
}

extension ChatFormat.Piece {
    fileprivate var isToken: Bool {
        switch self {
        case .token, .beginOfSequence, .endOfSequence: true
        case .text, .today: false
        }
    }
}

extension String {
    /// Whether two texts are one, but for white space at the ends.
    fileprivate func isSameAnswer(as other: String) -> Bool {
        let space = CharacterSet.whitespacesAndNewlines
        return trimmingCharacters(in: space).utf8.elementsEqual(other.trimmingCharacters(in: space).utf8)
    }
}

extension Date {
    /// The day in Python's `%d %b %Y`, which is English: `26 Jul 2024`.
    fileprivate var dayMonthYear: String {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let parts = Calendar(identifier: .gregorian).dateComponents([.day, .month, .year], from: self)
        guard let day = parts.day, let month = parts.month, let year = parts.year else { return "" }
        return "\(day < 10 ? "0" : "")\(day) \(months[month - 1]) \(year)"
    }
}

/// The text of a model's chat template, and the file that it stands in.
struct ChatTemplateSource {
    let file: String
    let text: String

    /// The longest template in use has some 15 kB.
    private static let maximumBytes = 1 << 20

    /// The template of a model directory: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`, else that of
    /// `chat_template.json`.
    init(directory: URL) throws {
        func existing(_ name: String) throws -> URL? {
            let url = directory.appending(path: name)
            return try ModelFile.exists(url) ? url : nil
        }
        if let url = try existing("chat_template.jinja") {
            guard let text = String(validating: try readSmallFile(url, limit: Self.maximumBytes), as: UTF8.self) else {
                throw ChatTemplateError.malformed(file: url.path, reason: "not valid UTF-8")
            }
            self.init(file: url.path, text: text)
            return
        }
        for url in try ["tokenizer_config.json", "chat_template.json"].compactMap(existing) {
            let node = try JSONNode(tokenizerFile: url)["chat_template"]
            if node.isNull { continue }
            self.init(file: url.path, text: try Self.text(of: node))
            return
        }
        throw ChatTemplateError.notFound(directory: directory.path)
    }

    init(file: String, text: String) {
        self.file = file
        self.text = text
    }

    /// A template, or the one called `default` of several.
    private static func text(of node: JSONNode) throws -> String {
        guard case .array = node.value else { return try node.string() }
        var names: [String] = []
        for element in try node.elements() {
            let name = try element["name"].string()
            if name == "default" { return try element["template"].string() }
            names.append(name)
        }
        throw ChatTemplateError.noDefault(file: node.file, names: names)
    }
}
