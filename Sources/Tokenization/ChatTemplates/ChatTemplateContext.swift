import Foundation
import JSON
import Jinja

extension ChatTemplate {
    /// What a template sees beside the messages.
    public struct Arguments: Sendable, Hashable {
        /// The tools that the model may call, as JSON schemas of functions. None is another thing than an empty list.
        public let tools: [ContextValue]?
        /// What the answer is to be based on, each with `title` and `text`.
        public let documents: [ContextValue]?
        /// Variables of the template's own: `enable_thinking` and its like.
        public let variables: [String: ContextValue]

        private static let ownNames: Set<String> = ["messages", "tools", "documents", "add_generation_prompt"]

        /// - Throws: ``ChatTemplateError/reservedVariable(name:)`` for variables that have a meaning already.
        public init(
            tools: [ContextValue]? = nil, documents: [ContextValue]? = nil, variables: [String: ContextValue] = [:]
        ) throws {
            let taken = Self.ownNames.union(Template.environmentNames)
            if let name = variables.keys.sorted().first(where: { taken.contains($0) || $0.hasSuffix("_token") }) {
                throw ChatTemplateError.reservedVariable(name: name)
            }
            self.tools = tools
            self.documents = documents
            self.variables = variables
        }

        private init() { (tools, documents, variables) = (nil, nil, [:]) }

        /// Nothing but the messages.
        public static let none = Arguments()
    }

    /// The variables of a rendering, as transformers gives them. What messages, tools and documents say is input, what the
    /// model's files say is not; nor are the roles, which are those of ``ChatMessage/Role``.
    func context(
        of messages: [ChatMessage], addGenerationPrompt: Bool, _ arguments: Arguments
    ) -> [String: ContextValue] {
        var context = arguments.variables
        for token in specialTokens { context[token.name] = .string(token.content, origin: .template) }
        context["messages"] = .array(messages.map(\.contextValue))
        context["tools"] = arguments.tools.map { .array($0) } ?? ContextValue.none
        context["documents"] = arguments.documents.map { .array($0) } ?? ContextValue.none
        context["add_generation_prompt"] = .boolean(addGenerationPrompt)
        return context
    }
}

extension ChatMessage {
    /// The message as templates know it, without what it has not.
    fileprivate var contextValue: ContextValue {
        var members: [ContextValue.Member] = [
            .init(key: "role", value: .string(role.rawValue, origin: .template)),
            .init(key: "content", value: .string(content, origin: .input)),
        ]
        if let reasoningContent {
            // Templates ask for either name.
            for key in ["reasoning_content", "thinking"] {
                members.append(.init(key: key, value: .string(reasoningContent, origin: .input)))
            }
        }
        if !toolCalls.isEmpty { members.append(.init(key: "tool_calls", value: .array(toolCalls.map(\.contextValue)))) }
        if let toolCallID { members.append(.init(key: "tool_call_id", value: .string(toolCallID, origin: .input))) }
        if let name { members.append(.init(key: "name", value: .string(name, origin: .input))) }
        return .dictionary(members)
    }
}

extension ToolCall {
    /// The call as templates know it: arguments as a dictionary, where they are an object.
    fileprivate var contextValue: ContextValue {
        var parsed = ContextValue.string(arguments, origin: .input)
        if let json = try? JSONValue.parse(Data(arguments.utf8)), case .object = json { parsed = ContextValue(json) }
        let function: [ContextValue.Member] = [
            .init(key: "name", value: .string(name, origin: .input)), .init(key: "arguments", value: parsed),
        ]
        let id = id.map { [ContextValue.Member(key: "id", value: .string($0, origin: .input))] } ?? []
        return .dictionary(
            id + [
                .init(key: "type", value: .string("function", origin: .template)),
                .init(key: "function", value: .dictionary(function)),
            ])
    }
}
