import ArgumentParser
import Foundation
import JSON

/// How many threads a command may use.
struct ThreadOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Number of threads.",
            discussion: "As many as the machine has cores, unless given.",
            valueName: "n"
        )
    )
    var threads: Int?

    func validate() throws {
        if let threads, !(1...1024).contains(threads) {
            throw ValidationError("--threads must lie between 1 and 1024, not \(threads).")
        }
    }
}

/// Where a command writes its directory.
struct OutputOptions: ParsableArguments {
    @Option(name: [.short, .long], help: ArgumentHelp("Directory to write.", valueName: "directory"))
    var output: URL

    @Flag(
        name: .long,
        help: "Replace the output directory if it exists. The old one is removed once the new one is complete.")
    var overwrite = false

    /// Before work whose result would have no place.
    ///
    /// - Throws: `FileError`
    func check() throws {
        if !overwrite, FileManager.default.fileExists(atPath: output.path) {
            throw FileError.destinationExists(path: output.path)
        }
    }
}

/// Where the randomness of a command starts.
struct SeedOption: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Seed of the random numbers.",
            discussion: "The same seed, input and machine give the same bytes.",
            valueName: "n"
        )
    )
    var seed: UInt64 = 0
}

/// Output for scripts.
struct JSONOption: ParsableArguments {
    @Flag(name: .long, help: "Print the result as JSON on standard output.")
    var json = false
}

/// Whether a command shows how far it is.
struct ProgressOptions: ParsableArguments {
    @Flag(name: [.short, .long], help: "Print no progress.")
    var quiet = false

    /// One process of several speaks.
    func ofRank(_ rank: Int) -> ProgressOptions {
        var options = self
        if rank > 0 { options.quiet = true }
        return options
    }

    /// A meter on standard error that keeps to `--quiet`.
    func meter(_ label: String, total: Int? = nil, done: Int = 0, unit: String) -> ProgressMeter {
        ProgressMeter(label, total: total, done: done, unit: unit, display: quiet ? nil : .standardError)
    }
}

/// Paths on the command line are file URLs: `@Argument var model: URL`.
///
/// Retroactive, which would be a risk in a library: two modules could both declare it. Nothing imports an executable.
// swift-format-ignore: AvoidRetroactiveConformances
extension URL: @retroactive ExpressibleByArgument {
    public init?(argument: String) {
        if argument.isEmpty { return nil }
        self.init(filePath: argument)
    }

    public var defaultValueDescription: String { relativePath }

    public static var defaultCompletionKind: CompletionKind { .file() }
}
