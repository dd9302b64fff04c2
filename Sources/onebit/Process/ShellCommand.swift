import Foundation

/// A command line as a shell reads it.
enum ShellCommand {
    /// This process's, its executable by name alone.
    static var ofThisProcess: String {
        let arguments = CommandLine.arguments
        return text(["onebit"] + arguments.dropFirst())
    }

    /// Arguments as one line; those that a shell would take apart or expand are put between quotes.
    static func text(_ arguments: some Sequence<String>) -> String {
        arguments.map(quoted).joined(separator: " ")
    }

    private static func quoted(_ argument: String) -> String {
        let isPlain = !argument.isEmpty && argument.utf8.allSatisfy { plain.contains($0) }
        return isPlain ? argument : "'" + argument.replacing("'", with: "'\\''") + "'"
    }

    private static let plain = Set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%".utf8)
}
