import Foundation
import Jinja

/// Why a conversation cannot be written in a model's format.
public enum ChatTemplateError: LocalizedError, Sendable, Hashable {
    /// No file of the directory has a chat template.
    case notFound(directory: String)
    /// The directory's tokenizer is Mistral's `tekken.json`, which has no template, and no file beside it has one.
    case notFoundBesideTekken(directory: String)
    /// The file has several templates, and none of them is called `default`.
    case noDefault(file: String, names: [String])
    /// The file cannot be read.
    case malformed(file: String, reason: String)
    /// The template cannot be read as Jinja, or fails.
    case template(TemplateError)
    /// The template itself refuses the conversation.
    case refused(TemplateError)
    /// The template needs a token that no file names.
    case missingToken(file: String, name: String)
    /// A conversation without messages.
    case noMessages
    /// The template leaves system messages out.
    case systemUnsupported(file: String)
    /// A conversation is continued that does not end in an answer.
    case nothingToContinue
    /// A variable that has a meaning already.
    case reservedVariable(name: String)

    public var errorDescription: String? {
        switch self {
        case .notFound(let directory):
            "\(directory): no chat template; expected chat_template.jinja, or a chat_template in tokenizer_config.json or "
                + "chat_template.json. A model without one can continue texts, but not chat."
        case .notFoundBesideTekken(let directory):
            "\(directory): tekken.json has no chat template: Mistral's own code writes the conversations of these models. "
                + "Put a chat_template.jinja beside it, from the model's page or one of the same version (config.version in "
                + "tekken.json). Without one the model can continue texts, but not chat."
        case .noDefault(let file, let names):
            "\(file): chat_template: no template is called \"default\"; found \(names.joined(separator: ", ")). "
                + "Put the one to use into chat_template.jinja."
        case .malformed(let file, let reason): "\(file): chat_template: \(reason)"
        case .template(let error): "The chat template fails: \(error.localizedDescription)"
        case .refused(let error): "The chat template refuses the conversation: \(error.localizedDescription)"
        case .missingToken(let file, let name):
            "\(file): the chat template needs \(name), but neither tokenizer_config.json nor special_tokens_map.json names "
                + "one. Add it there."
        case .noMessages: "The conversation has no messages; expected one at least."
        case .systemUnsupported(let file):
            "\(file): the chat template leaves system messages out. Put it before the first user message's text."
        case .nothingToContinue: "Only a conversation that ends in an answer can be continued by a message."
        case .reservedVariable(let name):
            "\"\(name)\" cannot be given to a chat template: it is a variable or function that every template has."
        }
    }
}
