import Foundation
import Jinja

/// Writes conversations in the format that a model was trained on, by the model's own template.
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

    /// The template itself, for conversations without tools.
    package let source: String
    /// The file that the template stands in.
    public var file: String { standard.name }
    /// The time that templates write which know the date: that of reading the template, so that a conversation's beginning
    /// does not change while it lasts.
    public var clock = Clock()

    /// What a rendering may take.
    public var limits = RenderingLimits()

    private let standard: Template
    private let withTools: Template?
    /// The tokens that the model's files name, as the template's variables.
    let specialTokens: [(name: String, content: String)]

    /// Reads the template of a model directory: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`
    /// (of several the one called `default`, and `tool_use` for conversations with tools), else that of
    /// `chat_template.json`.
    ///
    /// - Throws: `ChatTemplateError` where there is none or it is not Jinja, `TokenizerError` where a file is malformed,
    ///   `FileError` where it cannot be read.
    public init(directory: URL) throws {
        self = try withTokenizerErrors {
            let (standard, withTools) = try ChatTemplateSource.templates(of: directory)
            let named = try TokenizerConfiguration(directory: directory).namedTokens
            let others = try TokenizerSource(directory: directory)?.standardTokens.filter { token in
                !named.contains { $0.name == token.name }
            }
            return try ChatTemplate(standard, withTools: withTools, specialTokens: named + (others ?? []))
        }
    }

    /// Reads a template that stands somewhere else: in the metadata of a GGUF file, say.
    ///
    /// - Parameters:
    ///   - source: the template.
    ///   - name: what it is called in errors.
    ///   - specialTokens: names of variables such as `bos_token`, and the tokens.
    /// - Throws: `ChatTemplateError` where it is not Jinja.
    public init(_ source: String, name: String, specialTokens: [String: String]) throws {
        try self.init(
            ChatTemplateSource(file: name, text: source), withTools: nil,
            specialTokens: specialTokens.map { (name: $0, content: $1) })
    }

    private init(
        _ standard: ChatTemplateSource, withTools: ChatTemplateSource?, specialTokens: [(name: String, content: String)]
    ) throws {
        do {
            self.standard = try Template(standard.text, name: standard.file)
            self.withTools = try withTools.map { try Template($0.text, name: $0.file) }
        } catch let error as TemplateError {
            throw ChatTemplateError.template(error)
        }
        self.specialTokens = specialTokens
        source = standard.text
    }

    /// The conversation as text, special tokens spelled out. `addGenerationPrompt` asks for an answer at its end.
    ///
    /// - Throws: `ChatTemplateError` where the template refuses the conversation or fails.
    public func text(
        of messages: [ChatMessage], addGenerationPrompt: Bool, arguments: Arguments = .none
    ) throws -> String {
        try rendering(of: messages, addGenerationPrompt: addGenerationPrompt, arguments).text
    }

    /// The conversation as token ids, BOS included where the format has it: nothing is to be added.
    ///
    /// They are the ids that Hugging Face's `apply_chat_template` gives, but for messages that spell control tokens.
    ///
    /// - Throws: `ChatTemplateError` where the template refuses the conversation or fails.
    public func tokens(
        of messages: [ChatMessage], addGenerationPrompt: Bool, arguments: Arguments = .none, tokenizer: any Tokenizer
    ) throws -> [Int] {
        let rendering = try rendering(of: messages, addGenerationPrompt: addGenerationPrompt, arguments)
        return try tokenizer.encode(rendering.promptParts)
    }

    // MARK: Rendering

    /// What the template writes for checked messages.
    func rendering(
        of messages: [ChatMessage], addGenerationPrompt: Bool, _ arguments: Arguments
    ) throws -> Rendering {
        guard !messages.isEmpty else { throw ChatTemplateError.noMessages }
        let rendering = try render(messages, addGenerationPrompt: addGenerationPrompt, arguments)
        if try leavesSystemOut(messages, rendering, addGenerationPrompt: addGenerationPrompt, arguments) {
            throw ChatTemplateError.systemUnsupported(file: file)
        }
        return rendering
    }

    private func render(
        _ messages: [ChatMessage], addGenerationPrompt: Bool, _ arguments: Arguments
    ) throws -> Rendering {
        let template = arguments.tools == nil ? standard : withTools ?? standard
        let context = context(of: messages, addGenerationPrompt: addGenerationPrompt, arguments)
        do {
            return try template.render(context, clock: clock, limits: limits)
        } catch let error where error.kind == .raised {
            throw ChatTemplateError.refused(error)
        } catch let error where error.kind == .undefined && error.missingToken != nil {
            throw ChatTemplateError.missingToken(file: error.template, name: error.missingToken ?? "")
        } catch {
            throw ChatTemplateError.template(error)
        }
    }

    /// Whether the template silently does without system messages: it then writes the same without them.
    private func leavesSystemOut(
        _ messages: [ChatMessage], _ rendering: Rendering, addGenerationPrompt: Bool, _ arguments: Arguments
    ) throws -> Bool {
        let text = rendering.text
        let isMissing = messages.contains { message in
            let content = message.content.trimmingCharacters(in: .whitespacesAndNewlines)
            return message.role == .system && !content.isEmpty && !text.contains(content)
        }
        let others = messages.filter { $0.role != .system }
        guard isMissing, !others.isEmpty else { return false }
        return try render(others, addGenerationPrompt: addGenerationPrompt, arguments).text == text
    }
}

extension TemplateError {
    /// The special token that there is none of, if that is why the template fails.
    fileprivate var missingToken: String? {
        message.prefixMatch(of: /'(\w+_token)' is undefined/).map { String($0.1) }
    }
}

extension Rendering {
    /// The output for a tokenizer.
    var promptParts: [PromptPart] {
        parts.map { $0.origin == .template ? .template($0.text) : .text($0.text) }
    }
}
