import Foundation
import Tokenization

/// A model with what turns text into its tokens and conversations into its format.
///
/// Immutable: any number of sessions and generations may share it, at the same time too.
public struct ModelContainer: Sendable {
    public var model: any CausalLanguageModel { engine.model }
    public var tokenizer: any Tokenizer { engine.tokenizer }
    /// Generates what is asked of this model: its chats, and whatever else wants to share its batches.
    public let engine: GenerationEngine
    private let template: Result<ChatTemplate, any Error>

    /// Puts together what is loaded already. Without a chat template there are no chats.
    public init(model: any CausalLanguageModel, tokenizer: any Tokenizer, chatTemplate: ChatTemplate? = nil) {
        self.init(engine: GenerationEngine(model: model, tokenizer: tokenizer), chatTemplate: chatTemplate)
    }

    /// Puts together a model whose engine has limits of its own.
    public init(engine: GenerationEngine, chatTemplate: ChatTemplate? = nil) {
        self.engine = engine
        template = chatTemplate.map { .success($0) } ?? .failure(ChatSessionError.noChatTemplate)
    }

    /// A loaded model with the tokenizer and the chat template of its directory. A template that is missing or unknown
    /// is no error before it is asked for.
    ///
    /// - Throws: `TokenizerError`
    public init(model: any CausalLanguageModel, directory: URL) throws {
        engine = GenerationEngine(model: model, tokenizer: try loadTokenizer(from: directory))
        template = Result { try ChatTemplate(directory: directory) }
    }

    /// Puts together a model whose engine has limits of its own, and the chat template of its directory, which is no error before it is
    /// asked for.
    public init(engine: GenerationEngine, directory: URL) {
        self.engine = engine
        template = Result { try ChatTemplate(directory: directory) }
    }

    /// The format of the model's conversations.
    ///
    /// - Throws: why there is none: `ChatTemplateError`, `TokenizerError`, ``ChatSessionError/noChatTemplate``.
    public var chatTemplate: ChatTemplate {
        get throws { try template.get() }
    }
}
