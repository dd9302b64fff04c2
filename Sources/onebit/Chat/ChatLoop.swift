import Foundation
import OneBitRuntime

/// Questions from standard input, answers to standard output, until there are no more.
struct ChatLoop: Sendable {
    let session: ChatSession
    let printsJSON: Bool
    let isQuiet: Bool
    /// Whether somebody sits there: who sees prompts, and whose Ctrl-C stops an answer and not the program.
    let isTerminal = isatty(STDIN_FILENO) == 1

    /// - Throws: `CancellationError` for a Ctrl-C at the prompt, and any where nobody sits there; what the session
    ///   throws, but for a context that is full, which a terminal is told.
    func run() async throws {
        var lines = LineReader()
        while true {
            if isTerminal { StandardStreams.writeError("> ") }
            // Holds up one of Swift's threads, and nothing else has to run meanwhile.
            guard let line = try lines.next() else { break }
            switch ChatInput(line) {
            case .nothing: continue
            case .help: StandardStreams.writeError(ChatInput.commands)
            case .clear: await session.clear()
            case .exit: return
            case .unknown(let word): StandardStreams.writeError("There is no \(word). /help lists what there is.\n")
            case .question(let question): try await answer(question)
            }
        }
        if isTerminal { StandardStreams.writeError("\n") }
    }

    private func answer(_ question: String) async throws {
        let printing = Task { try await show(question) }
        let watching = Task {
            try await Interruption.request()
            printing.cancel()
        }
        defer { watching.cancel() }
        do {
            let (text, info) = try await printing.value
            if Interruption.isRequested, !(isTerminal && Interruption.takeInterrupt()) { throw CancellationError() }
            if printsJSON {
                let report = ChatReport(question: question, answer: text, info: info)
                try StandardStreams.writeLine(jsonText(report, onOneLine: true))
            } else {
                try StandardStreams.writeLine()
            }
            if !isQuiet { StandardStreams.writeError(info?.speeds ?? "stopped\n") }
        } catch let error as ChatSessionError where isTerminal {
            StandardStreams.writeError(ErrorReport.text(of: error) + " /clear begins anew.\n")
        }
    }

    /// Prints an answer as it comes. Cancelled, it has no figures.
    private func show(_ question: String) async throws -> (text: String, info: GenerateCompletionInfo?) {
        var text = ""
        for try await part in session.streamDetails(to: question) {
            switch part {
            case .chunk(let piece):
                text += piece
                if !printsJSON { try StandardStreams.write(piece) }
            case .info(let info): return (text, info)
            }
        }
        return (text, nil)
    }
}
