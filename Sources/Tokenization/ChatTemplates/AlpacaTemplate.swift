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
