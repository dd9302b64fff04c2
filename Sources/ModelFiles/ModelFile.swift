// ModelFiles: the files that a model is made of, whatever it comes as: a directory in Hugging Face layout, or a GGUF file, which
// is read as the directory that it stands for. May import JSON and TensorFiles.

import Foundation
import JSON

/// A file of a model, by its address: the model's place and the file's name, such as `smollm2/config.json`.
///
/// Where the model is a GGUF file, the address is `SmolLM2.gguf/config.json`, and the contents are made of its metadata. So
/// whoever reads a model's files by these two functions reads both kinds of models, and so do those who copy them.
package enum ModelFile {
    /// Whether the model has the file.
    ///
    /// - Throws: `GGUFError`, `FileError`.
    package static func exists(_ url: URL) throws -> Bool {
        guard let model = ggufModel(of: url) else { return FileManager.default.fileExists(atPath: url.path) }
        guard GGUFModel.fileNames.contains(url.lastPathComponent) else { return false }
        return try GGUFModel(contentsOf: model).hasFile(url.lastPathComponent)
    }

    /// The file's contents.
    ///
    /// - Parameter limit: bytes that they may have.
    /// - Throws: `FileError`, `GGUFError`.
    package static func contents(of url: URL, limit: Int = 64 << 20) throws -> Data {
        guard let model = ggufModel(of: url) else { return try readSmallFile(url, limit: limit) }
        let data = try GGUFModel(contentsOf: model).contents(of: url.lastPathComponent)
        guard data.count <= limit else { throw FileError.tooLarge(file: url.path, bytes: data.count, limit: limit) }
        return data
    }

    /// The plain file that stands where a model's directory would.
    private static func ggufModel(of url: URL) -> URL? {
        let model = url.deletingLastPathComponent()
        return isFile(model) ? model : nil
    }

    /// Whether a model is a plain file, and not a directory.
    package static func isFile(_ model: URL) -> Bool {
        var status = stat()
        return stat(model.path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }
}
