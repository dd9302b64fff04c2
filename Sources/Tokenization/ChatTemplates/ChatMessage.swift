/// A message of a conversation.
public struct ChatMessage: Sendable, Hashable, Codable {
    /// Who speaks.
    public enum Role: String, Sendable, Hashable, Codable, CaseIterable {
        /// Says, before anything else, how the model is to behave.
        case system
        /// Asks.
        case user
        /// Answers: the model.
        case assistant
    }

    public var role: Role
    public var content: String

    /// A message of `role`.
    public init(role: Role, content: String) {
        self.role = role
        self.content = content
    }

    /// What the model is told before the conversation.
    public static func system(_ content: String) -> ChatMessage { ChatMessage(role: .system, content: content) }
    /// What the user says.
    public static func user(_ content: String) -> ChatMessage { ChatMessage(role: .user, content: content) }
    /// What the model answered.
    public static func assistant(_ content: String) -> ChatMessage { ChatMessage(role: .assistant, content: content) }
}
