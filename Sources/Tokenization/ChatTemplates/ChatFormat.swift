/// How a family of models wants a conversation written: data, which one renderer serves.
struct ChatFormat: Sendable {
    /// A piece that stands around messages.
    enum Piece: Sendable, Hashable {
        /// The tokens that the model's files name.
        case beginOfSequence, endOfSequence
        /// A special token, by its content.
        case token(String)
        case text(String)
        /// The day, as `26 Jul 2024`.
        case today
    }

    /// A message: what stands before it and behind it.
    struct Turn: Sendable {
        var prefix: [Piece]
        var suffix: [Piece]
        /// Whether white space at the ends of the message goes.
        var trims = false
    }

    /// Where a system message goes.
    enum System: Sendable {
        case turn(Turn)
        /// Into a user message, between its prefix and its text.
        case inside(UserMessage, Turn)
        case unsupported
    }

    enum UserMessage: Sendable {
        case first
        case last
        /// The last message; if that is an answer, the system message is left out.
        case lastOfAll
    }

    let name: String
    /// What a conversation begins with.
    var opening: [Piece] = []
    var system: System
    /// What stands for the system message where there is none.
    var standardSystem: String?
    var user: Turn
    var assistant: Turn
    /// What asks for an answer.
    var generationPrompt: [Piece]
    /// Whether the template asks for an answer even when it is not told to.
    var alwaysAsks = false
    /// Whether reasoning before `</think>` is dropped from answers that a user message follows, and written out in others.
    var handlesReasoning = false
    /// Whether user and assistant have to speak in turn. Read from the template.
    var demandsAlternation = false
}
