import Testing

@testable import onebit

@Suite struct ShellCommandTests {
    @Test("A command line is quoted so that a shell reads the same arguments")
    func quoted() async throws {
        let arguments = ["--text", "a b", "it's", "", "$HOME", "*", "x=1,2", "é\n"]
        let line = ShellCommand.text(arguments)
        #expect(line.hasPrefix("--text 'a b' "))
        let outcome = try await BuiltCommand.shell("printf '%s|' \(line)")
        #expect(outcome.output == arguments.map { $0 + "|" }.joined())
    }
}
