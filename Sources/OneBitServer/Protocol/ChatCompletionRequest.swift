import JSON
import Jinja
import LanguageModel
import Tokenization

/// A request to `/v1/chat/completions`.
struct ChatCompletionRequest {
    var fields: SamplingFields
    let prompt: [Int]
    let stopTokens: Set<Int>
    /// How many of the likeliest tokens are told with each token; nil tells nothing.
    let logProbabilities: Int?
    /// Whether calls of tools are looked for in the answer.
    let hasTools: Bool

    /// - Throws: ``APIError``, `JSONNodeError`, `ChatTemplateError`, `TokenizerError`.
    init(_ body: JSONNode, served: ServedModel) throws {
        fields = try SamplingFields(body, served: served)
        let wantsLogProbabilities = try body["logprobs"].nonNull?.boolean() ?? false
        let top = try body.whole("top_logprobs", in: 0...RequestLimits.topLogProbabilities)
        if top != nil, !wantsLogProbabilities {
            throw APIError.badRequest("top_logprobs: it goes with logprobs: true.", parameter: "top_logprobs")
        }
        logProbabilities = wantsLogProbabilities ? top ?? 0 : nil
        let chat = try ChatFields(body)
        hasTools = chat.hasTools
        let template = try served.container.chatTemplate
        prompt = try chat.tokens(by: template, tokenizer: served.tokenizer)
        guard !prompt.isEmpty else {
            throw APIError.badRequest("messages: the chat template makes no text of them.", parameter: "messages")
        }
        guard prompt.count <= served.context else {
            throw APIError.contextExceeded(tokens: prompt.count, context: served.context, parameter: "messages")
        }
        let end = try template.answerEnd(tokenizer: served.tokenizer, arguments: chat.arguments)
        stopTokens = fields.ignoresEnd ? [] : Set(end.tokens)
        if fields.ignoresEnd {
            for token in end.tokens { fields.parameters.logitBias[token] = -.infinity }
        } else {
            fields.parameters.stopStrings += end.strings
        }
        let maximum =
            try body.whole("max_completion_tokens", in: 1...1 << 30) ?? body.whole("max_tokens", in: 1...1 << 30)
        fields.parameters.maxTokens = maximum ?? served.settings.standardAnswerTokens
    }
}

/// What of a request makes the prompt of a chat.
struct ChatFields {
    let messages: [ChatMessage]
    let arguments: ChatTemplate.Arguments
    let hasTools: Bool
    private let addsGenerationPrompt: Bool
    /// Whether the answer goes on with the last message.
    private let continuesFinalMessage: Bool

    /// - Throws: ``APIError``, `JSONNodeError`, `ChatTemplateError`.
    init(_ body: JSONNode) throws {
        let nodes = try body["messages"].elements()
        guard (1...RequestLimits.messages).contains(nodes.count) else {
            throw APIError.badRequest(
                "messages: expected 1 to \(RequestLimits.messages) messages.", parameter: "messages")
        }
        messages = try nodes.map(Self.message)
        let tools = try Self.tools(body)
        hasTools = tools != nil
        var variables: [String: ContextValue] = [:]
        if let more = body["chat_template_kwargs"].nonNull {
            for (key, node) in try more.members() {
                variables[key] = node.value.map { ContextValue($0) } ?? ContextValue.none
            }
        }
        arguments = try ChatTemplate.Arguments(tools: tools, variables: variables)
        continuesFinalMessage = try body["continue_final_message"].nonNull?.boolean() ?? false
        let asksForAnswer = try body["add_generation_prompt"].nonNull?.boolean()
        addsGenerationPrompt = asksForAnswer ?? !continuesFinalMessage
        guard !continuesFinalMessage || !addsGenerationPrompt else {
            throw APIError.badRequest(
                "continue_final_message: it does not go with add_generation_prompt: true.",
                parameter: "continue_final_message")
        }
    }

    func tokens(by template: ChatTemplate, tokenizer: any Tokenizer) throws -> [Int] {
        guard !continuesFinalMessage else {
            return try template.tokens(continuing: messages, arguments: arguments, tokenizer: tokenizer)
        }
        return try template.tokens(
            of: messages, addGenerationPrompt: addsGenerationPrompt, arguments: arguments, tokenizer: tokenizer)
    }

    private static func message(_ node: JSONNode) throws -> ChatMessage {
        let name = try node["role"].string()
        // OpenAI's newer name for instructions.
        guard let role = ChatMessage.Role(rawValue: name == "developer" ? "system" : name) else {
            throw APIError.invalid(node["role"], "system, developer, user, assistant or tool")
        }
        var message = ChatMessage(role: role, content: try content(node["content"], role: role, node))
        message.reasoningContent = try node["reasoning_content"].nonNull?.string()
        message.toolCallID = try node["tool_call_id"].nonNull?.string()
        message.name = try node["name"].nonNull?.string()
        message.toolCalls =
            try node["tool_calls"].nonNull?.elements().map { call in
                guard try call["type"].nonNull?.string() ?? "function" == "function" else {
                    throw APIError.invalid(call["type"], "\"function\"")
                }
                return ToolCall(
                    id: try call["id"].nonNull?.string(), name: try call["function"]["name"].string(),
                    arguments: try call["function"]["arguments"].string())
            } ?? []
        return message
    }

    /// A text, or parts of which each is one.
    private static func content(_ node: JSONNode, role: ChatMessage.Role, _ message: JSONNode) throws -> String {
        switch node.value {
        case .string(let text): return text
        case .array:
            return try node.elements().map { part in
                guard try part["type"].string() == "text" else { throw APIError.invalid(part["type"], "\"text\"") }
                return try part["text"].string()
            }.joined(separator: "\n")
        case nil where role == .assistant && message["tool_calls"].nonNull != nil: return ""
        case .null where role == .assistant: return ""
        default: throw APIError.invalid(node, "a text, or a list of parts of type text")
        }
    }

    /// The schemas of tools, unless they are not to be used.
    private static func tools(_ body: JSONNode) throws -> [ContextValue]? {
        let nodes = try body["tools"].nonNull?.elements() ?? []
        guard nodes.count <= RequestLimits.tools else {
            throw APIError.badRequest("tools: at most \(RequestLimits.tools).", parameter: "tools")
        }
        switch body["tool_choice"].value {
        case nil, .null, .string("auto"): break
        case .string("none"): return nil
        default:
            throw APIError.badRequest(
                "tool_choice: only \"auto\" and \"none\": the model chooses.", parameter: "tool_choice")
        }
        guard !nodes.isEmpty else { return nil }
        return try nodes.map { node in
            guard try node["type"].string() == "function" else { throw APIError.invalid(node["type"], "\"function\"") }
            _ = try node["function"]["name"].string()
            _ = try node["function"]["description"].nonNull?.string()
            _ = try node["function"]["parameters"].nonNull?.members()
            return ContextValue(node.value ?? .null)
        }
    }
}
