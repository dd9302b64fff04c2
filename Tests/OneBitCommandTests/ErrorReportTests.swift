import Foundation
import JSON
import OneBitEvaluation
import Testing

@testable import onebit

@Suite("Error reports")
struct ErrorReportTests {
    private struct Described: LocalizedError {
        var errorDescription: String?
        var recoverySuggestion: String?
    }

    private struct Advised: LocalizedError, CommandLineAdvice {
        var errorDescription: String? { "the settings differ" }
        var recoverySuggestion: String? { "Resume with those of the first run." }
        var commandLineAdvice: String? { "Give --resume the options of the first run." }
    }

    private enum Bare: Error { case somethingOdd }

    @Test("An error's text is its description and what to do, as two sentences")
    func described() {
        let both = Described(errorDescription: "a.safetensors: truncated", recoverySuggestion: "Download it again.")
        #expect(ErrorReport.text(of: both) == "error: a.safetensors: truncated. Download it again.")
        let sentence = Described(errorDescription: "It is truncated.", recoverySuggestion: "Download it again.")
        #expect(ErrorReport.text(of: sentence) == "error: It is truncated. Download it again.")
        #expect(ErrorReport.text(of: Described(errorDescription: "x is missing")) == "error: x is missing")
    }

    @Test("What the command line advises stands in place of the library's suggestion, not behind it")
    func advised() {
        #expect(
            ErrorReport.text(of: Advised())
                == "error: the settings differ. Give --resume the options of the first run.")
    }

    @Test("An error without a description is named and not hidden behind a general phrase")
    func bare() {
        #expect(ErrorReport.text(of: Bare.somethingOdd) == "error: somethingOdd")
    }

    @Test("Foundation's own errors say what happened to which file")
    func foundation() throws {
        let missing = #expect(throws: (any Error).self) {
            try Data(contentsOf: URL(filePath: "/nowhere/config.json"))
        }
        #expect(ErrorReport.text(of: try #require(missing)) == "error: /nowhere/config.json: No such file or directory")
        #expect(ErrorReport.text(of: POSIXError(.ENOSPC)) == "error: No space left on device")
    }

    @Test("The option that helps stands last, where the command has it")
    func options() {
        let exists = FileError.destinationExists(path: "x")
        let text = ErrorReport.text(of: exists, from: InitCommand.self)
        #expect(text.hasPrefix("error: x already exists. ") && text.hasSuffix(" --overwrite does that."))
        #expect(!ErrorReport.text(of: exists, from: InspectCommand.self).contains("--"))
        let item = TaskDataError.malformedItem(file: "piqa.jsonl", line: 3, key: "goal", reason: "expected a string")
        #expect(
            ErrorReport.text(of: item, from: EvaluateCommand.self).hasSuffix("--skip-malformed leaves such items out."))
        #expect(!ErrorReport.text(of: item, from: PerplexityCommand.self).contains("--"))
    }
}
