extension KnownTemplate {
    /// Mistral: `[INST]` around the user's messages. The versions differ in spaces, and in where the system message goes.
    static let mistral: [KnownTemplate] = systemless + versions.map(\.known)

    /// The first version's templates without a system message.
    private static let systemless: [KnownTemplate] = ["", " "].map { space in
        KnownTemplate(
            template: """
                {{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}
                {{- '[INST] ' + message.content + ' [/INST]' }}
                {%- elif message.role == 'assistant' %}{{ \(space.isEmpty ? "" : "' ' + ")message.content + eos_token\
                \(space.isEmpty ? "" : " + ' '") }}{% endif %}{% endfor %}
                """,
            format: MistralVersion(
                name: "Mistral v1", opening: "[INST] ", closing: " [/INST]", beforeAnswer: space, afterAnswer: space,
                placement: nil
            ).format
        )
    }

    private static let versions: [MistralVersion] = {
        var versions: [MistralVersion] = []
        for placement in MistralVersion.Placement.allCases {
            for trims in [false, true] {
                versions += [
                    MistralVersion(
                        name: "Mistral v1", opening: " [INST] ", closing: " [/INST]", beforeAnswer: " ", trims: trims,
                        placement: placement),
                    MistralVersion(
                        name: "Mistral v3", opening: "[INST] ", closing: "[/INST]", beforeAnswer: " ", trims: trims,
                        placement: placement),
                    MistralVersion(
                        name: "Mistral v3-tekken", opening: "[INST]", closing: "[/INST]", beforeAnswer: "",
                        trims: trims,
                        placement: placement),
                ]
            }
        }
        return versions
    }()
}

/// One way in which Mistral's templates put spaces and the system message.
private struct MistralVersion {
    /// The condition under which a user message takes the system message in.
    enum Placement: String, CaseIterable {
        case first = "loop.first"
        case lastOfAll = "loop.last"
        case last = "message == user_messages[-1]"
        case lastInParentheses = "(message == user_messages[-1])"
    }

    let name: String
    let opening: String
    let closing: String
    let beforeAnswer: String
    var afterAnswer = ""
    var trims = false
    let placement: Placement?

    var known: KnownTemplate {
        let answer = (beforeAnswer.isEmpty ? "" : "'\(beforeAnswer)' + ") + "message.content" + (trims ? "|trim" : "")
        return KnownTemplate(
            template: """
                {% if messages[0].role == 'system' %}{% set system_message = messages[0].content %}
                {%- set messages = messages[1:] %}{% endif %}{{ bos_token }}
                {%- for message in messages %}{% if message.role == 'user' %}
                {%- if \(placement?.rawValue ?? "") and system_message is defined %}
                {{- '\(opening)' + system_message + '\\n\\n' + message.content + '\(closing)' }}
                {%- else %}{{ '\(opening)' + message.content + '\(closing)' }}{% endif %}
                {%- elif message.role == 'assistant' %}{{ \(answer) + eos_token }}{% endif %}{% endfor %}
                """,
            format: format
        )
    }

    var format: ChatFormat {
        let inside = ChatFormat.Turn(prefix: [], suffix: [.text("\n\n")])
        let system: ChatFormat.System =
            switch placement {
            case nil: .unsupported
            case .first: .inside(.first, inside)
            case .lastOfAll: .inside(.lastOfAll, inside)
            case .last, .lastInParentheses: .inside(.last, inside)
            }
        return ChatFormat(
            name: name,
            opening: [.beginOfSequence],
            system: system,
            user: .init(prefix: pieces(opening), suffix: pieces(closing)),
            assistant: .init(
                prefix: pieces(beforeAnswer), suffix: [.endOfSequence] + pieces(afterAnswer), trims: trims),
            generationPrompt: []
        )
    }

    /// The brackets are special tokens from the third version on; earlier tokenizers have no such tokens and spell them.
    private func pieces(_ text: String) -> [ChatFormat.Piece] {
        for marker in ["[INST]", "[/INST]"] {
            guard let range = text.range(of: marker) else { continue }
            return pieces(String(text[..<range.lowerBound])) + [.token(marker)]
                + pieces(String(text[range.upperBound...]))
        }
        return text.isEmpty ? [] : [.text(text)]
    }
}
