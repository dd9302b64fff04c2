import ArgumentParser

@main
struct OneBitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "onebit", abstract: "Large language models at one bit per weight.")
}
