extension KnownTemplate {
    /// LLaMA-3 and later: a header before each message, `<|eot_id|>` behind it.
    static let llama3: [KnownTemplate] = [
        KnownTemplate(template: plain + prompt(), format: llama3Format("LLaMA-3")),
        KnownTemplate(template: bosInFront + prompt(), format: llama3Format("LLaMA-3")),
        KnownTemplate(template: plain + answerHeader, format: llama3Format("LLaMA-3", alwaysAsks: true)),
        KnownTemplate(
            template: knowledge(day: "'26 Jul 2024'") + prompt(),
            format: llama3Format("LLaMA-3.1", day: .text("26 Jul 2024"))),
        KnownTemplate(
            template: knowledge(day: "strftime_now('%d %b %Y')") + prompt(),
            format: llama3Format("LLaMA-3.2", day: .today)),
    ]

    private static let message =
        "'<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content|trim + '<|eot_id|>'"
    private static let answerHeader = "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"

    private static func prompt() -> String { "{% if add_generation_prompt %}\(answerHeader){% endif %}" }

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
        _ name: String, day: ChatFormat.Piece? = nil, alwaysAsks: Bool = false
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
            alwaysAsks: alwaysAsks
        )
    }
}
