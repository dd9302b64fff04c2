extension KnownTemplate {
    /// LLaMA-2: every turn of the user is a sequence of its own, and the system message stands inside the first.
    static let llama2: [KnownTemplate] = [true, false].flatMap { opensEveryTurn in
        ["", laterSystem].map { later in
            KnownTemplate(
                template: llama2Template(opensEveryTurn: opensEveryTurn, later: later),
                format: llama2Format(opensEveryTurn: opensEveryTurn))
        }
    }

    /// The branch for a later system message, which is never taken.
    private static let laterSystem =
        "{%- elif message.role == 'system' %}{{ '<<SYS>>\\n' + content|trim + '\\n<</SYS>>\\n\\n' }}"

    /// The template with BOS before each turn or once.
    private static func llama2Template(opensEveryTurn: Bool, later: String) -> String {
        """
        \(opensEveryTurn ? "" : "{{ bos_token }}")
        {%- if messages[0].role == 'system' %}
        {%- set system_message = messages[0].content %}{% set messages = messages[1:] %}
        {%- else %}{% set system_message = false %}{% endif %}
        {%- for message in messages %}
        {%- if loop.index0 == 0 and system_message != false %}
        {%- set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message.content %}
        {%- else %}{% set content = message.content %}{% endif %}
        {%- if message.role == 'user' %}
        {{- \(opensEveryTurn ? "bos_token + " : "")'[INST] ' + content|trim + ' [/INST]' }}
        \(later)
        {%- elif message.role == 'assistant' %}{{ ' ' + content|trim + ' ' + eos_token }}{% endif %}
        {%- endfor %}
        """
    }

    private static func llama2Format(opensEveryTurn: Bool) -> ChatFormat {
        ChatFormat(
            name: "LLaMA-2",
            opening: opensEveryTurn ? [] : [.beginOfSequence],
            system: .inside(.first, .init(prefix: [.text("<<SYS>>\n")], suffix: [.text("\n<</SYS>>\n\n")])),
            user: .init(
                prefix: (opensEveryTurn ? [.beginOfSequence] : []) + [.text("[INST] ")],
                suffix: [.text(" [/INST]")],
                trims: true
            ),
            assistant: .init(prefix: [.text(" ")], suffix: [.text(" "), .endOfSequence], trims: true),
            generationPrompt: []
        )
    }
}

extension KnownTemplate {
    /// LLaMA-3 and later: a header before each message, `<|eot_id|>` behind it.
    static let llama3: [KnownTemplate] = [
        KnownTemplate(template: plain + llama3Prompt(), format: llama3Format("LLaMA-3")),
        KnownTemplate(template: bosInFront + llama3Prompt(), format: llama3Format("LLaMA-3")),
        KnownTemplate(
            template: plain + answerHeader, format: llama3Format("LLaMA-3", alwaysAddsGenerationPrompt: true)),
        KnownTemplate(
            template: knowledge(day: "'26 Jul 2024'") + llama3Prompt(),
            format: llama3Format("LLaMA-3.1", day: .text("26 Jul 2024"))),
        KnownTemplate(
            template: knowledge(day: "strftime_now('%d %b %Y')") + llama3Prompt(),
            format: llama3Format("LLaMA-3.2", day: .today)),
    ]

    private static let message =
        "'<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content|trim + '<|eot_id|>'"
    private static let answerHeader = "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"

    private static func llama3Prompt() -> String { "{% if add_generation_prompt %}\(answerHeader){% endif %}" }

    /// BOS becomes part of the first message.
    private static let plain = """
        {% for message in messages %}{% set content = \(message) %}
        {%- if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}
        """

    private static let bosInFront = "{{ bos_token }}{% for message in messages %}{{ \(message) }}{% endfor %}"

    /// There is always a system message, and it begins with what the model knows of time.
    private static func knowledge(day: String) -> String {
        """
        {{ bos_token }}{% set date_string = \(day) %}
        {%- if messages[0].role == 'system' %}
        {%- set system_message = messages[0].content|trim %}{% set messages = messages[1:] %}
        {%- else %}{% set system_message = '' %}{% endif %}
        {{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: ' + \
        date_string + '\\n\\n' + system_message + '<|eot_id|>' }}
        {%- for message in messages %}{{ \(message) }}{% endfor %}
        """
    }

    private static func llama3Format(
        _ name: String, day: ChatFormat.Piece? = nil, alwaysAddsGenerationPrompt: Bool = false
    ) -> ChatFormat {
        func header(_ role: String) -> [ChatFormat.Piece] {
            [.token("<|start_header_id|>"), .text(role), .token("<|end_header_id|>"), .text("\n\n")]
        }
        func turn(_ prefix: [ChatFormat.Piece]) -> ChatFormat.Turn {
            .init(prefix: prefix, suffix: [.token("<|eot_id|>")], trims: true)
        }
        let knowledge = day.map {
            [.text("Cutting Knowledge Date: December 2023\nToday Date: "), $0, .text("\n\n")]
        }
        return ChatFormat(
            name: name,
            opening: [.beginOfSequence],
            system: .turn(turn(header("system") + (knowledge ?? []))),
            standardSystem: day.map { _ in "" },
            user: turn(header("user")),
            assistant: turn(header("assistant")),
            generationPrompt: header("assistant"),
            alwaysAddsGenerationPrompt: alwaysAddsGenerationPrompt
        )
    }
}

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

extension KnownTemplate {
    /// ChatML: `<|im_start|>` and a role before each message, `<|im_end|>` behind it. Qwen's templates are of this kind.
    static let chatML: [KnownTemplate] = {
        let message = "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        let everyMessage = "{% for message in messages %}\(message){% endfor %}"
        let standard = "<|im_start|>system\\n\(anySystem)<|im_end|>\\n"
        let plain = chatMLFormat("ChatML")
        return [
            KnownTemplate(template: everyMessage + chatMLPrompt, format: plain),
            KnownTemplate(
                template: "{{ bos_token }}" + everyMessage + chatMLPrompt,
                format: chatMLFormat("ChatML", opening: [.beginOfSequence])),
            KnownTemplate(
                template: "{% for message in messages %}{% if loop.first and messages[0].role != 'system' %}"
                    + "{{ '\(standard)' }}{% endif %}\(message){% endfor %}" + chatMLPrompt,
                format: plain),
            KnownTemplate(
                template: "{% if messages[0].role == 'system' %}"
                    + "{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}"
                    + "{% else %}{{ '\(standard)' }}{% endif %}{% for message in messages %}"
                    + "{% if message.role == 'user' or (message.role == 'system' and not loop.first) or "
                    + "message.role == 'assistant' %}\(message){% endif %}{% endfor %}" + chatMLPrompt,
                format: plain),
            // Finds the user's last question, and drops the reasoning of the answers before it. Its length says
            // nothing that the format does not, so it is known by its digest.
            KnownTemplate(
                digest: 0x71D5_3A4A_FBED_461A, format: chatMLFormat("Qwen3", handlesReasoning: true)),
        ]
    }()

    private static let chatMLPrompt =
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

    private static func chatMLFormat(
        _ name: String, opening: [ChatFormat.Piece] = [], handlesReasoning: Bool = false
    ) -> ChatFormat {
        func prefix(_ role: String) -> [ChatFormat.Piece] { [.token("<|im_start|>"), .text("\(role)\n")] }
        func turn(_ role: String) -> ChatFormat.Turn {
            .init(prefix: prefix(role), suffix: [.token("<|im_end|>"), .text("\n")])
        }
        return ChatFormat(
            name: name,
            opening: opening,
            system: .turn(turn("system")),
            user: turn("user"),
            assistant: turn("assistant"),
            generationPrompt: prefix("assistant"),
            handlesReasoning: handlesReasoning
        )
    }
}

extension KnownTemplate {
    /// Alpaca: headings of plain text. Where a template has a preamble, it is the system message of a conversation without.
    static let alpaca: [KnownTemplate] = [false, true].flatMap { trims in
        let trim = trims ? "|trim" : ""
        let messages = { (end: String) in
            """
            {% for message in messages %}{% if message.role == 'user' %}
            {{- '### Instruction:\\n' + message.content\(trim) + '\\n\\n' }}
            {%- elif message.role == 'assistant' %}
            {{- '### Response:\\n' + message.content\(trim)\(end) + '\\n\\n' }}{% endif %}{% endfor %}
            {%- if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}
            """
        }
        return [
            KnownTemplate(
                template: "{% if messages[0].role == 'system' %}{% set system_message = messages[0].content\(trim) + "
                    + "'\\n\\n' %}{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}"
                    + "{{ bos_token + system_message }}" + messages(" + eos_token"),
                format: alpacaFormat(trims: trims)),
            KnownTemplate(
                template: "{{ bos_token }}{% if messages[0].role == 'system' %}"
                    + "{{ messages[0].content\(trim) + '\\n\\n' }}"
                    + "{% set messages = messages[1:] %}{% else %}{{ '\(anySystem)\\n\\n' }}{% endif %}"
                    + messages(" + eos_token"),
                format: alpacaFormat(trims: trims)),
            KnownTemplate(
                template: "{% for message in messages %}{% if message.role == 'system' %}"
                    + "{{ message.content\(trim) + '\\n\\n' }}{% elif"
                    + messages("").dropFirst("{% for message in messages %}{% if".count),
                format: alpacaFormat(trims: trims, endsAnswers: false, opening: [])),
        ]
    }

    private static func alpacaFormat(
        trims: Bool, endsAnswers: Bool = true, opening: [ChatFormat.Piece] = [.beginOfSequence]
    ) -> ChatFormat {
        ChatFormat(
            name: "Alpaca",
            opening: opening,
            system: .turn(.init(prefix: [], suffix: [.text("\n\n")], trims: trims)),
            user: .init(prefix: [.text("### Instruction:\n")], suffix: [.text("\n\n")], trims: trims),
            assistant: .init(
                prefix: [.text("### Response:\n")],
                suffix: (endsAnswers ? [.endOfSequence] : []) + [.text("\n\n")], trims: trims),
            generationPrompt: [.text("### Response:\n")]
        )
    }
}
