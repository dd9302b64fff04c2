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
    /// Whether the template writes the generation prompt even without `add_generation_prompt`.
    var alwaysAddsGenerationPrompt = false
    /// Whether reasoning before `</think>` is dropped from answers that a user message follows, and written out in others.
    var handlesReasoning = false
    /// Whether user and assistant have to alternate. Read from the template.
    var requiresAlternation = false
}

/// A conversation in a model's format, message by message.
struct ChatConversation {
    /// A message as it is written.
    struct Turn: Equatable {
        var prefix: [PromptPart]
        var content: String
        var suffix: [PromptPart]

        var parts: [PromptPart] { prefix + (content.isEmpty ? [] : [.text(content)]) + suffix }
    }

    private(set) var opening: [PromptPart]
    private(set) var turns: [Turn] = []

    var parts: [PromptPart] { opening + turns.flatMap(\.parts) }

    /// Writes checked messages. `resolve` makes parts of a format's pieces.
    init(_ messages: [ChatMessage], format: ChatFormat, resolve: ([ChatFormat.Piece]) -> [PromptPart]) {
        opening = resolve(format.opening)
        var messages = messages[...]
        var system = format.standardSystem
        if messages.first?.role == .system { system = messages.removeFirst().content }
        if let system, case .turn(let turn) = format.system {
            append(system, as: turn, resolve: resolve)
        }
        let systemHost = system == nil ? nil : Self.host(of: format.system, in: messages)
        let lastQuestion = messages.lastIndex { $0.role == .user } ?? messages.endIndex - 1
        for (index, message) in zip(messages.indices, messages) {
            guard message.role == .assistant else {
                if index == systemHost, let system, case .inside(_, let inside) = format.system {
                    append(message.content, as: format.user, with: system, inside: inside, resolve: resolve)
                } else {
                    append(message.content, as: format.user, resolve: resolve)
                }
                continue
            }
            var content = message.content
            if format.handlesReasoning {
                let answer = ReasonedAnswer(content)
                content = index > lastQuestion ? answer.text(isLast: index == messages.endIndex - 1) : answer.answer
            }
            append(content, as: format.assistant, resolve: resolve)
        }
    }

    /// The user message that takes the system message in.
    private static func host(of system: ChatFormat.System, in messages: ArraySlice<ChatMessage>) -> Int? {
        guard case .inside(let place, _) = system else { return nil }
        switch place {
        case .first: return messages.firstIndex { $0.role == .user }
        case .last: return messages.lastIndex { $0.role == .user }
        case .lastOfAll: return messages.last?.role == .user ? messages.endIndex - 1 : nil
        }
    }

    private mutating func append(
        _ content: String, as turn: ChatFormat.Turn, resolve: ([ChatFormat.Piece]) -> [PromptPart]
    ) {
        let content = turn.trims ? content.trimmedAsByPython : content
        turns.append(Turn(prefix: resolve(turn.prefix), content: content, suffix: resolve(turn.suffix)))
    }

    /// Appends a message with another inside: both are trimmed as one.
    private mutating func append(
        _ content: String, as turn: ChatFormat.Turn, with system: String, inside: ChatFormat.Turn,
        resolve: ([ChatFormat.Piece]) -> [PromptPart]
    ) {
        let texts = (resolve(inside.prefix) + [.text(system)] + resolve(inside.suffix) + [.text(content)])
        append(texts.map(\.content).joined(), as: turn, resolve: resolve)
    }
}

/// An answer and the reasoning before it, as Qwen3's template takes them apart.
private struct ReasonedAnswer {
    private(set) var answer: String
    private(set) var reasoning = ""

    init(_ content: String) {
        answer = content
        let parts = content.split(separator: "</think>", omittingEmptySubsequences: false)
        guard parts.count > 1, let first = parts.first, let last = parts.last else { return }
        answer = String(last.drop { $0 == "\n" })
        let thought = first.trimmingLineEnds.split(separator: "<think>", omittingEmptySubsequences: false).last ?? ""
        reasoning = String(thought.trimmingLineEnds)
    }

    /// The answer to the last question, with its reasoning: an empty one if nothing follows.
    func text(isLast: Bool) -> String {
        guard isLast || !reasoning.isEmpty else { return answer }
        return "<think>\n\(reasoning)\n</think>\n\n\(answer.drop { $0 == "\n" })"
    }
}

extension Substring {
    fileprivate var trimmingLineEnds: Substring {
        var text = drop { $0 == "\n" }
        while text.last == "\n" { text.removeLast() }
        return text
    }
}

extension String {
    /// Without the white space at its ends: Unicode's, and the separators U+001C to U+001F, as Python's `strip` has it.
    fileprivate var trimmedAsByPython: String {
        func isSpace(_ scalar: Unicode.Scalar) -> Bool {
            scalar.properties.isWhitespace || 0x1C...0x1F ~= scalar.value
        }
        var scalars = Substring(self).unicodeScalars.drop(while: isSpace)
        while let last = scalars.last, isSpace(last) { scalars.removeLast() }
        return String(scalars)
    }
}
