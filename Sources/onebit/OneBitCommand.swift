import ArgumentParser
import ModelDescription

/// The command line: one subcommand per stage, and one that runs all of them.
///
/// A subcommand holds its arguments, its progress and its printing. The work is done by the libraries.
@main
struct OneBitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "onebit",
        abstract: "Large language models at one bit per weight.",
        discussion: """
            Rewrites every linear layer of a checkpoint (LLaMA, Mistral, Qwen, Gemma, Phi-3, OPT and others) as one sign matrix \
            and two value vectors, distills the original model into that student, packs the signs at one bit each, and runs the \
            result.

            Every stage reads a directory in Hugging Face layout, a GGUF file or, where there is nothing of that name here, a \
            model by its name on the Hugging Face hub, and writes a directory. An existing output is replaced only with \
            --overwrite.

            Exit codes: 0 done, 1 failed, 64 wrong usage, 130 interrupted.
            """,
        version: OneBitVersion.current,
        groupedSubcommands: groups.filter { !$0.subcommands.isEmpty }
    )

    /// What a usage error starts with. `ErrorReport` uses the same word for every other error.
    static let _errorPrefix = ErrorReport.prefix

    /// The subcommands in the order in which a model passes through them. Groups without commands are left out of the help.
    private static var groups: [CommandGroup] {
        [
            CommandGroup(name: "All stages:", subcommands: allStages),
            CommandGroup(name: "Models:", subcommands: [DownloadCommand.self]),
            CommandGroup(name: "Stages:", subcommands: stages),
            CommandGroup(name: "Inspect and evaluate:", subcommands: evaluation),
            CommandGroup(name: "Use:", subcommands: use),
        ]
    }

    private static var allStages: [any ParsableCommand.Type] {
        #if TRAINING
            [CompressCommand.self]
        #else
            []
        #endif
    }

    private static var stages: [any ParsableCommand.Type] {
        #if TRAINING
            [
                PretrainCommand.self, InitCommand.self, SynthesizeCommand.self, DistillCommand.self, PackCommand.self,
                ExportCommand.self,
            ]
        #else
            [InitCommand.self, SynthesizeCommand.self, PackCommand.self, ExportCommand.self]
        #endif
    }

    private static var evaluation: [any ParsableCommand.Type] {
        var commands: [any ParsableCommand.Type] = [
            InspectCommand.self, PerplexityCommand.self, EvaluateCommand.self, CompareCommand.self, LogitsCommand.self,
            TokenizeCommand.self,
        ]
        #if TRAINING
            commands += [ReportCommand.self, WatchCommand.self]
        #endif
        return commands
    }

    private static var use: [any ParsableCommand.Type] {
        [GenerateCommand.self, ChatCommand.self, ServeCommand.self, BenchCommand.self]
    }

    static func main() async {
        StandardStreams.prepare()
        do {
            try await Interruption.run {
                try checkArguments()
                var command = try await asyncParseAsRoot()
                do {
                    if var models = command as? any ModelCommand {
                        try await models.locateModels()
                        command = models
                    }
                    if var command = command as? any AsyncParsableCommand {
                        try await command.run()
                    } else {
                        try command.run()
                    }
                } catch {
                    ErrorReport.exit(after: error, of: type(of: command))
                }
            }
        } catch {
            ErrorReport.exit(after: error)
        }
        ProcessEnd.exit(0)
    }

    /// Swift reads arguments with replacement characters in place of bytes that are not UTF-8: other text than was meant.
    private static func checkArguments() throws {
        for index in 1..<max(1, Int(CommandLine.argc)) {
            guard let argument = CommandLine.unsafeArgv[index], String(validatingCString: argument) == nil else {
                continue
            }
            throw ValidationError("argument \(index) is not UTF-8 text.")
        }
    }
}
