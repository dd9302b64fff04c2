import Foundation
import JSON
import TensorFiles

extension Checkpoint {
    /// Files beside the weights that belong to the model and travel with it: tokenizer, chat template, generation
    /// settings, licence. Not `config.json`, which every stage writes anew.
    public static let auxiliaryFileNames = [
        "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
        "chat_template.json", "LICENSE", "LICENSE.txt", "USE_POLICY.md",
    ]

    /// Those of the auxiliary files that this checkpoint has.
    public var auxiliaryFiles: [URL] {
        Self.auxiliaryFileNames.map { directory.appending(path: $0) }
            .filter { FileManager.default.fileExists(atPath: $0.path) }
    }

    /// Copies the auxiliary files into another directory; links are followed, as the Hub's cache is made of them.
    ///
    /// - Throws: ``FileError``.
    public func copyAuxiliaryFiles(to target: URL) throws {
        for file in auxiliaryFiles {
            try writeAtomically(
                try readSmallFile(file, limit: 1 << 30),
                to: target.appending(path: file.lastPathComponent)
            )
        }
    }

    /// Stops a stage whose output would replace this checkpoint.
    ///
    /// - Throws: ``FileError/destinationIsSource(path:)``.
    public func requireOutside(_ destination: URL) throws {
        let source = directory.resolvingSymlinksInPath().standardizedFileURL.pathComponents
        let target = destination.absoluteURL.resolvingSymlinksInPath().standardizedFileURL.pathComponents
        // Replacing the source itself or a folder above it would destroy what is being read.
        guard !source.starts(with: target) else {
            throw FileError.destinationIsSource(path: destination.path)
        }
    }
}
