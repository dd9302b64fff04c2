extension KnownTemplate {
    /// ChatML: `<|im_start|>` and a role before each message, `<|im_end|>` behind it. Qwen's templates are of this kind.
    static let chatML: [KnownTemplate] = {
        let message = "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        let everyMessage = "{% for message in messages %}\(message){% endfor %}"
        let standard = "<|im_start|>system\\n\(anySystem)<|im_end|>\\n"
        let plain = chatMLFormat("ChatML")
        return [
            KnownTemplate(template: everyMessage + prompt, format: plain),
            KnownTemplate(
                template: "{{ bos_token }}" + everyMessage + prompt,
                format: chatMLFormat("ChatML", opening: [.beginOfSequence])),
            KnownTemplate(
                template: "{% for message in messages %}{% if loop.first and messages[0].role != 'system' %}"
                    + "{{ '\(standard)' }}{% endif %}\(message){% endfor %}" + prompt,
                format: plain),
            KnownTemplate(
                template: "{% if messages[0].role == 'system' %}"
                    + "{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}"
                    + "{% else %}{{ '\(standard)' }}{% endif %}" + qwenMessages + prompt,
                format: plain),
            KnownTemplate(template: qwen3, format: chatMLFormat("Qwen3", handlesReasoning: true)),
        ]
    }()

    private static let prompt =
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

    /// Qwen2.5's loop, whose last branch is for answers with tool calls alone.
    private static let qwenMessages = """
        {% for message in messages %}
        {%- if message.role == 'user' or (message.role == 'system' and not loop.first) or message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
        {%- elif message.role == 'assistant' %}{{ '<|im_start|>' + message.role }}
        {%- if message.content %}{{ '\\n' + message.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}
        """

    /// Qwen3 finds the user's last question, and drops the reasoning of the answers before it.
    private static let qwen3 = """
        {% if messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
        {%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
        {%- for message in messages[::-1] %}{% set index = (messages|length - 1) - loop.index0 %}
        {%- if ns.multi_step_tool and message.role == 'user' and not (message.content.startswith('<tool_response>') \
        and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}{% set ns.last_query_index = index %}{% endif %}{% endfor %}
        {%- for message in messages %}
        {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
        {%- elif message.role == 'assistant' %}
        {%- set content = message.content %}{% set reasoning_content = '' %}
        {%- if '</think>' in message.content %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]\
        .lstrip('\\n') %}{% endif %}
        {%- if loop.index0 > ns.last_query_index %}
        {%- if loop.last or (not loop.last and reasoning_content) %}
        {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + \
        content.lstrip('\\n') }}
        {%- else %}{{ '<|im_start|>' + message.role + '\\n' + content }}{% endif %}
        {%- else %}{{ '<|im_start|>' + message.role + '\\n' + content }}{% endif %}
        {{- '<|im_end|>\\n' }}{% endif %}{% endfor %}\(prompt)
        """

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
