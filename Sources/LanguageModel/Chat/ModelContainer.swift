import Foundation
import Tokenization

/// A model with what turns text into its tokens and conversations into its format.
///
/// Immutable: any number of sessions and generations may share it, at the same time too.
public struct ModelContainer: Sendable {
    public let model: any CausalLanguageModel
    public let tokenizer: any Tokenizer
    /// Generates what is asked of this model: its chats, and whatever else wants to share its batches.
    public let engine: GenerationEngine
    private let template: Result<ChatTemplate, any Error>

    /// Puts together what is loaded already. Without a chat template there are no chats.
    public init(model: any CausalLanguageModel, tokenizer: any Tokenizer, chatTemplate: ChatTemplate? = nil) {
        self.init(
            model, tokenizer, template: chatTemplate.map { .success($0) } ?? .failure(ChatSessionError.noChatTemplate))
    }

    /// A loaded model with the tokenizer and the chat template of its directory. A template that is missing or unknown
    /// is no error before it is asked for.
    ///
    /// - Throws: `TokenizerError`
    public init(model: any CausalLanguageModel, directory: URL) throws {
        self.init(
            model, try loadTokenizer(from: directory), template: Result { try ChatTemplate(directory: directory) })
    }

    private init(
        _ model: any CausalLanguageModel, _ tokenizer: any Tokenizer, template: Result<ChatTemplate, any Error>
    ) {
        self.model = model
        self.tokenizer = tokenizer
        self.template = template
        engine = GenerationEngine(model: model, tokenizer: tokenizer)
    }

    /// The format of the model's conversations.
    ///
    /// - Throws: why there is none: `ChatTemplateError`, `TokenizerError`, ``ChatSessionError/noChatTemplate``.
    public var chatTemplate: ChatTemplate {
        get throws { try template.get() }
    }
}
