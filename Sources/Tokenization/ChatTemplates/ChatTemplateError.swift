import Foundation

/// Why a conversation cannot be written in a model's format.
public enum ChatTemplateError: LocalizedError, Sendable, Hashable {
    /// No file of the directory has a chat template.
    case notFound(directory: String)
    /// The file has several templates, and none of them is called `default`.
    case noDefault(file: String, names: [String])
    /// The template cannot be read as Jinja.
    case malformed(file: String, reason: String)
    /// The template is none of those that are known. `step` is what the nearest known one has otherwise.
    case unknownFormat(file: String, beginning: String, step: String?, known: [String])
    /// The template writes a token that no file names.
    case missingToken(directory: String, name: String)
    /// A conversation without messages.
    case noMessages
    /// A system message that is not the first.
    case systemNotFirst(index: Int)
    /// The format has no place for a system message.
    case systemUnsupported(format: String)
    /// The format demands user and assistant in turn, beginning with user.
    case rolesDoNotAlternate(format: String, index: Int, found: ChatMessage.Role)
    /// A conversation is continued that does not end in an answer.
    case nothingToContinue

    public var errorDescription: String? {
        switch self {
        case .notFound(let directory):
            "\(directory): no chat template; expected chat_template.jinja, or a chat_template in tokenizer_config.json or "
                + "chat_template.json. A model without one can continue texts, but not chat."
        case .noDefault(let file, let names):
            "\(file): chat_template: no template is called \"default\"; found \(names.joined(separator: ", ")). "
                + "Put the one to use into chat_template.jinja."
        case .malformed(let file, let reason):
            "\(file): chat_template: \(reason)"
        case .unknownFormat(let file, let beginning, let step, let known):
            "\(file): chat_template: not a format that is known. It begins with "
                + "\"\(beginning)\"" + (step.map { "; what the nearest format does otherwise: \($0)" } ?? "")
                + ". Known formats: \(known.joined(separator: ", "))."
        case .missingToken(let directory, let name):
            "\(directory): the chat template writes \(name), but neither tokenizer_config.json nor "
                + "special_tokens_map.json names one. Add it there."
        case .noMessages:
            "The conversation has no messages; expected one at least."
        case .systemNotFirst(let index):
            "Message \(index + 1) is a system message; only the first may be one."
        case .systemUnsupported(let format):
            "The format \(format) has no place for a system message. Put it before the first user message's text."
        case .rolesDoNotAlternate(let format, let index, let found):
            "Message \(index + 1) is of role \(found.rawValue), but the format \(format) wants user and assistant in turn, "
                + "user first."
        case .nothingToContinue:
            "Only a conversation that ends in an answer can be continued by a message of the user."
        }
    }
}
