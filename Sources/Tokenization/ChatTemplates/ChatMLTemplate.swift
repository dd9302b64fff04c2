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
                    + "{% else %}{{ '\(standard)' }}{% endif %}{% for message in messages %}"
                    + "{% if message.role == 'user' or (message.role == 'system' and not loop.first) or "
                    + "message.role == 'assistant' %}\(message){% endif %}{% endfor %}" + prompt,
                format: plain),
            // Finds the user's last question, and drops the reasoning of the answers before it. Its length says
            // nothing that the format does not, so it is known by its digest.
            KnownTemplate(
                digest: 0x71D5_3A4A_FBED_461A, format: chatMLFormat("Qwen3", handlesReasoning: true)),
        ]
    }()

    private static let prompt =
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
