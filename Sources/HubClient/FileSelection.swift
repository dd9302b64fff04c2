import Foundation

/// Which files of a repository are downloaded.
public struct FileSelection: Sendable, Equatable {
    /// Patterns of which a path has to match one; nil for what a model is made of.
    public var includes: [String]?
    /// Patterns that a path may not match.
    public var excludes: [String]

    /// What a model is made of: its configuration, its tokenizer and its weights in one format.
    public static let model = FileSelection()

    /// - Parameters:
    ///   - includes: patterns as a shell has them (fnmatch), whose `*` matches slashes too, and of which those that end in a
    ///     slash mean a folder; as huggingface_hub's `allow_patterns`.
    ///   - excludes: such patterns too, as its `ignore_patterns`.
    public init(includes: [String]? = nil, excludes: [String] = []) {
        (self.includes, self.excludes) = (includes, excludes)
    }

    /// The selected files, in the listing's order.
    ///
    /// - Throws: ``HubError/noModel(repository:ggufFiles:)``, ``HubError/nothingSelected(repository:patterns:)``,
    ///   ``HubError/fileNotFound(repository:file:)``.
    public func files(of listing: RepositoryListing, in repository: ModelRepository) throws -> [RepositoryFile] {
        let files: [RepositoryFile]
        if let path = repository.file {
            files = Self.parts(of: path, in: listing.files)
            guard !files.isEmpty else { throw HubError.fileNotFound(repository: repository.id, file: path) }
        } else if let includes {
            files = listing.files.filter { file in includes.contains { Self.matches(file.path, $0) } }
        } else {
            files = listing.files.filter(Self.isPartOfModel) + Self.weights(listing.files)
            guard files.contains(where: { $0.path == "config.json" }), !Self.weights(listing.files).isEmpty else {
                throw HubError.noModel(
                    repository: repository.id, ggufFiles: listing.files.map(\.path).filter { $0.hasSuffix(".gguf") })
            }
        }
        let selected = files.filter { file in !excludes.contains { Self.matches(file.path, $0) } }
        guard !selected.isEmpty else {
            throw HubError.nothingSelected(
                repository: repository.id, patterns: (includes ?? []) + excludes.map { "not \($0)" })
        }
        return selected
    }

    private static func matches(_ path: String, _ pattern: String) -> Bool {
        fnmatch(pattern.hasSuffix("/") ? pattern + "*" : pattern, path, 0) == 0
    }

    /// A GGUF file, with the others that it was split into (`NAME-00001-of-00003.gguf`).
    private static func parts(of path: String, in files: [RepositoryFile]) -> [RepositoryFile] {
        func parts(_ path: String) -> (name: Substring, count: Substring)? {
            path.wholeMatch(of: /(.+)-\d{5}-of-(\d{5})\.gguf/).map { ($0.1, $0.2) }
        }
        guard files.contains(where: { $0.path == path }) else { return [] }
        guard let wanted = parts(path) else { return files.filter { $0.path == path } }
        return files.filter { file in parts(file.path).map { $0 == wanted } ?? false }
    }

    /// Configuration, tokenizer, chat templates, model card and terms, which stand at the top.
    private static func isPartOfModel(_ file: RepositoryFile) -> Bool {
        let path = file.path
        if path.hasPrefix("additional_chat_templates/"), path.hasSuffix(".jinja") { return true }
        guard !path.contains("/") else { return false }
        return path.hasSuffix(".json") && !path.hasSuffix(".index.json")
            || [".jinja", ".txt", ".tiktoken"].contains(where: path.hasSuffix)
            || ["tokenizer.model", "README.md", "LICENSE", "LICENSE.md", "USE_POLICY.md"].contains(path)
    }

    /// The weights in one format: safetensors, else PyTorch's. Other frameworks' and variants (`model.fp16.safetensors`,
    /// `consolidated.safetensors`, `original/`) hold the same numbers once more.
    private static func weights(_ files: [RepositoryFile]) -> [RepositoryFile] {
        let formats = [
            /model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?/,
            /pytorch_model(-\d{5}-of-\d{5})?\.bin(\.index\.json)?/,
        ]
        return formats.lazy.map { format in files.filter { $0.path.wholeMatch(of: format) != nil } }
            .first { $0.contains { !$0.path.hasSuffix(".index.json") } } ?? []
    }
}
