import Foundation

/// What a line of a chat asks for.
enum ChatInput: Equatable {
    case question(String)
    case help
    case clear
    case exit
    /// A word behind a slash that is no command.
    case unknown(String)
    case nothing

    static let commands = """
        /clear   begin anew; the system message stays
        /exit    end, as Ctrl-D does
        /help    this list
        Ctrl-C   stop the answer; at the prompt, end

        """

    init(_ line: String) {
        switch line.trimmingCharacters(in: .whitespaces) {
        case "": self = .nothing
        case "/help": self = .help
        case "/clear": self = .clear
        case "/exit": self = .exit
        case let word where word.wholeMatch(of: /\/[a-z]+/) != nil: self = .unknown(word)
        default: self = .question(line)
        }
    }
}
