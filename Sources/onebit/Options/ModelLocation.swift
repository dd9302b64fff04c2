import ArgumentParser
import Foundation
import HubClient
import ModelDescription

/// A model on the command line: a directory, a GGUF file, or its name on the Hugging Face hub.
///
/// What exists under that name here comes first. A name is looked up on the hub by ``locate(quiet:)``, before the command runs.
struct ModelLocation: ExpressibleByArgument {
    /// As it was typed.
    let argument: String
    /// Where the model is on this machine; of a name on the hub, once it is located.
    private(set) var url: URL

    init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        self.argument = argument
        url = URL(filePath: argument)
    }

    static var defaultCompletionKind: CompletionKind { .file() }

    /// What tables call the model: the last part of its name.
    var name: String { ModelName(of: url).short }

    /// Downloads a model that is named by the hub's name for it; nothing where it is on this machine.
    ///
    /// - Throws: `HubError`, ``ModelLocationError``, and what cannot be written.
    mutating func locate(quiet: Bool = false) async throws {
        guard !FileManager.default.fileExists(atPath: url.path),
            let repository = try ModelRepository(reference: argument)
        else { return }
        do {
            url = try await fetch(repository, files: .model, isForced: false, quiet: quiet).url
        } catch let error as HubError where !argument.hasPrefix("hf://") {
            throw ModelLocationError(argument: argument, hubError: error)
        }
    }
}

/// Downloads what is missing of a model, with progress on standard error.
///
/// - Throws: `HubError`, `FileError`, `CancellationError`.
func fetch(
    _ repository: ModelRepository, files: FileSelection, isForced: Bool, quiet: Bool
) async throws -> HubSnapshot {
    let progress = DownloadProgress(of: repository, isQuiet: quiet)
    let client = HubClient(settings: try HubSettings(version: OneBitVersion.current))
    let snapshot = try await client.snapshot(of: repository, files: files, isForced: isForced) { progress.show($0) }
    progress.finish()
    return snapshot
}

/// A command that takes models, which may be on the hub.
protocol ModelCommand: ParsableCommand {
    /// Calls ``ModelLocation/locate(quiet:)`` of each. Before `run()`.
    mutating func locateModels() async throws
}

/// What a name means that is no path on this machine and that the hub does not give.
struct ModelLocationError: LocalizedError {
    let argument: String
    let hubError: HubError

    var errorDescription: String? {
        "\(argument) is neither a path here nor a model that the hub gives. \(hubError.localizedDescription)"
    }

    var recoverySuggestion: String? { hubError.recoverySuggestion }
}

/// What a model is called by its place.
struct ModelName {
    /// What the hub calls it where it lies in the hub's cache (`models--meta-llama--Llama-2-7b-hf/snapshots/…`); the name of its
    /// directory or file elsewhere.
    let identifier: String

    init(of url: URL) {
        let url = url.standardizedFileURL
        let prefix = "models--"
        let cached = url.pathComponents.last { $0.hasPrefix(prefix) }
        guard let cached, url.pathExtension != "gguf" else {
            identifier = url.lastPathComponent
            return
        }
        identifier = String(cached.dropFirst(prefix.count)).replacing("--", with: "/")
    }

    /// The identifier without its owner.
    var short: String { identifier.split(separator: "/").last.map(String.init) ?? identifier }
}
