import Testing

@testable import onebit

@Suite("What is typed in a chat")
struct ChatInputTests {
    @Test(
        "Commands are whole lines; whatever else is a question, spaces and all",
        arguments: [
            ("/exit", ChatInput.exit), (" /clear ", .clear), ("/help", .help), ("", .nothing), ("  \t", .nothing),
            ("/quit", .unknown("/quit")), ("/etc/passwd, what is it?", .question("/etc/passwd, what is it?")),
            ("/help me", .question("/help me")), (" Why? ", .question(" Why? ")),
        ])
    func parsing(line: String, expected: ChatInput) {
        #expect(ChatInput(line) == expected)
    }
}
