import ArgumentParser
import Foundation
import JSON
import ModelDescription
import OneBitEvaluation
import OneBitServer

/// How a thrown error ends the process: what is printed on standard error, and the exit code.
enum ErrorReport {
    static let prefix = "error: "

    /// Code of a failed command.
    static let failure: Int32 = 1
    /// ArgumentParser's code, EX_USAGE of sysexits.h.
    static let wrongUsage: Int32 = 64

    /// Prints `error` and ends the process.
    ///
    /// - Parameter command: the command that threw it, as far as that is known: only an option that it has is suggested.
    static func exit(after error: any Error, of command: (any ParsableCommand.Type)? = nil) -> Never {
        // What commands have printed so far comes before the error, also where both streams go to one file.
        fflush(nil)
        ProgressDisplay.endOpenLine()
        switch error {
        case is StandardOutputClosed:
            // The reader has what it wanted (`onebit inspect … | head -3`); shells know 128 + SIGPIPE as this.
            ProcessEnd.exit(128 + SIGPIPE)
        case is CancellationError:
            StandardStreams.writeError("interrupted\n")
            ProcessEnd.exit(Interruption.exitCode)
        case let error as ValidationError where command != nil:
            // Found behind the arguments, where ArgumentParser no longer knows whose they are.
            let name = command?.configuration.commandName ?? ""
            StandardStreams.writeError("\(prefix)\(error.message)\nSee 'onebit \(name) --help' for more information.\n")
            ProcessEnd.exit(wrongUsage)
        default:
            // Help, version, usage errors and explicit exit codes are ArgumentParser's.
            guard OneBitCommand.exitCode(for: error) == .failure, !(error is ExitCode) else {
                OneBitCommand.exit(withError: error)
            }
            StandardStreams.writeError(text(of: error, from: command) + "\n")
            ProcessEnd.exit(failure)
        }
    }

    /// `error: ` and what the error says of itself: description, then what to do about it, the command's option for it last.
    static func text(of error: any Error, from command: (any ParsableCommand.Type)? = nil) -> String {
        let localized = error as? any LocalizedError
        let advice = (error as? any CommandLineAdvice)?.commandLineAdvice ?? localized?.recoverySuggestion
        let sentences = [
            localized?.errorDescription ?? fallbackDescription(of: error), advice ?? "",
            command.flatMap { suggestion(for: error, in: $0) } ?? "",
        ].filter { !$0.isEmpty }
        return prefix
            + sentences.reduce("") { text, sentence in
                guard let end = text.last else { return sentence }
                return text + (".!?".contains(end) ? " " : ". ") + sentence
            }
    }

    /// The option that helps, where the command has it. Libraries name faults and know no options.
    private static func suggestion(for error: any Error, in command: any ParsableCommand.Type) -> String? {
        let suggestion: (option: String, text: String)
        switch error {
        case FileError.destinationExists: suggestion = ("--overwrite", "does that")
        case ConfigurationError.unknownKeys: suggestion = ("--allow-unknown-keys", "goes on without them")
        case TaskDataError.malformedItem, is UnscorableItemError:
            suggestion = ("--skip-malformed", "leaves such items out")
        case ListenError.addressInUse: suggestion = ("--port", "chooses another port, 0 any that is free")
        case is ListenError: suggestion = ("--host", "chooses another address")
        default: return nil
        }
        guard OneBitCommand.helpMessage(for: command).contains(suggestion.option) else { return nil }
        return "\(suggestion.option) \(suggestion.text)."
    }

    /// Text of an error without an `errorDescription`: Swift errors describe themselves, Foundation's name their file.
    private static func fallbackDescription(of error: any Error) -> String {
        guard error is CocoaError || error is POSIXError || type(of: error) == NSError.self else {
            return String(describing: error)
        }
        let foundation = error as NSError
        let cause = (foundation.userInfo[NSUnderlyingErrorKey] as? any Error).map { $0 as NSError } ?? foundation
        let reason =
            cause.domain == NSPOSIXErrorDomain
            ? String(cString: strerror(Int32(truncatingIfNeeded: cause.code))) : cause.localizedDescription
        guard let path = foundation.userInfo[NSFilePathErrorKey] as? String else { return reason }
        return "\(path): \(reason)"
    }
}

/// A library's error for which the command line knows the option that helps; libraries do not speak of options.
protocol CommandLineAdvice: Error {
    /// What to do, in place of the error's own suggestion; nil keeps that.
    var commandLineAdvice: String? { get }
}
