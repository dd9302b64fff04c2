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
