import ArgumentParser
import Foundation
import HubClient
import ModelDescription

struct DownloadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "download",
        abstract: "Download a model from the Hugging Face hub.",
        discussion: """
            Into the cache that huggingface_hub uses too ($HF_HOME/hub, ~/.cache/huggingface/hub), and prints the directory. \
            Every command that takes a model takes its name on the hub as well, and downloads what is missing. A download that \
            is stopped goes on where it was.

            Without --include these files: configuration, tokenizer, chat templates, and the weights in one format \
            (safetensors, else PyTorch's). An access token for private and gated models is taken from HF_TOKEN or the file of \
            hf auth login. HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE and the other variables of huggingface_hub count; \
            HTTPS_PROXY and SSL_CERT_FILE too.

            EXAMPLES
              onebit download HuggingFaceTB/SmolLM2-135M-Instruct
              onebit download meta-llama/Llama-2-7b-hf --revision refs/pr/1
              onebit download HuggingFaceTB/SmolLM2-135M-Instruct --include "*.json" --include "*.txt"
              onebit download org/name-GGUF/name-q8_0.gguf
              onebit download org/name --dry-run --json
            """
    )

    @Argument(
        help: ArgumentHelp(
            "ORG/NAME, optionally followed by @REVISION, or ORG/NAME/FILE.gguf.", valueName: "model"))
    var model: String

    @Option(help: ArgumentHelp("Branch, tag, refs/pr/N or commit.", valueName: "revision"))
    var revision: String?

    @Option(
        help: ArgumentHelp(
            "Files to download, by a pattern such as \"*.json\"; may be given again.", valueName: "pattern"))
    var include: [String] = []

    @Option(help: ArgumentHelp("Files to leave out, by a pattern; may be given again.", valueName: "pattern"))
    var exclude: [String] = []

    @Flag(help: "Download anew what the cache has.")
    var force = false

    @Flag(help: "List the files with their sizes, and download none.")
    var dryRun = false

    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    /// What `--json` prints.
    private struct Result: Encodable {
        struct File: Encodable {
            let path: String
            let bytes: Int
        }

        let model: String
        let commit: String
        let path: String?
        let downloadedBytes: Int
        let files: [File]
    }

    func run() async throws {
        var reference = model.hasPrefix("hf://") ? model : "hf://\(model)"
        if let revision {
            guard !reference.contains("@") else {
                throw ValidationError("Give the revision behind \"@\" or with --revision, not both.")
            }
            reference += "@\(revision)"
        }
        guard let repository = try ModelRepository(reference: reference) else { return }
        let selection = FileSelection(includes: include.isEmpty ? nil : include, excludes: exclude)
        if dryRun { return try await list(repository, selection) }
        let snapshot = try await fetch(repository, files: selection, isForced: force, quiet: progress.quiet)
        if json.json {
            return try writeJSON(
                Result(
                    model: repository.id, commit: snapshot.commit, path: snapshot.url.path,
                    downloadedBytes: snapshot.downloadedByteCount, files: snapshot.files.map(Self.file)))
        }
        try StandardStreams.writeLine(snapshot.url.path)
    }

    private func list(_ repository: ModelRepository, _ selection: FileSelection) async throws {
        let progress = DownloadProgress(of: repository, isQuiet: progress.quiet)
        let client = HubClient(settings: try HubSettings(version: OneBitVersion.current))
        let listing = try await client.listing(of: repository) { progress.show($0) }
        let files = try selection.files(of: listing, in: repository)
        if json.json {
            return try writeJSON(
                Result(
                    model: repository.id, commit: listing.commitID, path: nil, downloadedBytes: 0,
                    files: files.map(Self.file)))
        }
        var table = TextTable([.text("file"), .figure("size")])
        for file in files { table.append([file.path, Quantity.bytes(file.byteCount)]) }
        try StandardStreams.write(table.text)
        StandardStreams.writeError(
            "\(files.count) of \(listing.files.count) files, \(Quantity.bytes(files.reduce(0) { $0 + $1.byteCount })), "
                + "commit \(listing.commitID)\n")
    }

    private static func file(_ file: RepositoryFile) -> Result.File {
        Result.File(path: file.path, bytes: file.byteCount)
    }
}
