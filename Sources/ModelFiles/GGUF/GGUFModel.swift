import Foundation
import JSON
import TensorFiles

/// A model in a GGUF file, or in several that belong together, as Hugging Face would have it: the files of its directory, and its
/// tensors by their names there.
package struct GGUFModel: Sendable {
    /// The files that can be made of the metadata.
    static let fileNames: Set = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]

    /// The files by name: one, or those that a model was split into.
    private let files: [(name: String, file: GGUFFile)]

    private var metadata: GGUFMetadata { files[0].file.metadata }

    /// Opens the file, and those that it was split into.
    ///
    /// - Throws: `GGUFError`, `FileError`.
    package init(contentsOf url: URL) throws {
        let first = try GGUFFile(contentsOf: url)
        var files = [(name: url.lastPathComponent, file: first)]
        for name in try Self.otherSplits(first.metadata, url) {
            let split = url.deletingLastPathComponent().appending(path: name)
            guard ModelFile.isFile(split) else { throw GGUFError.missingSplit(file: url.path, split: name) }
            files.append((name, try GGUFFile(contentsOf: split)))
        }
        self.files = files
    }

    /// What the model computes. Its tokenizer can be read without: also that of an architecture that is not supported.
    private var architecture: GGUFArchitecture {
        get throws { try GGUFArchitecture(files.map(\.file)) }
    }

    /// The names of the other files of a model whose first is given: `X-00002-of-00003.gguf` and so on (llama.cpp's
    /// `gguf-split`).
    private static func otherSplits(_ metadata: GGUFMetadata, _ url: URL) throws -> [String] {
        let count = try metadata.integer("split.count", in: 0...99_999) ?? 1
        guard count > 1 else { return [] }
        func suffix(_ number: Int) -> String {
            func digits(_ number: Int) -> String { String(String(100_000 + number).dropFirst()) }
            return "-\(digits(number))-of-\(digits(count)).gguf"
        }
        let name = url.lastPathComponent
        guard try metadata.integer("split.no", in: 0...99_999) ?? 0 == 0, name.hasSuffix(suffix(1)) else {
            throw GGUFError.wrongValue(
                file: url.path, key: "split.count", expected: "the first of \(count) files, \"…\(suffix(1))\"",
                found: "\"\(name)\"")
        }
        return (2...count).map { name.dropLast(suffix(1).count) + suffix($0) }
    }

    // MARK: Files

    /// Whether the metadata have what a file is made of.
    func hasFile(_ name: String) -> Bool {
        switch name {
        case "config.json", "generation_config.json": true
        case "tokenizer.json", "tokenizer_config.json": GGUFTokenizer.isPresent(in: metadata)
        default: false
        }
    }

    /// The contents of a file.
    ///
    /// - Throws: `GGUFError`, `FileError` where there is no such file.
    func contents(of name: String) throws -> Data {
        switch name {
        case "config.json": try json(architecture.configuration())
        case "generation_config.json": try json(architecture.generationConfiguration())
        case "tokenizer.json": try GGUFTokenizer(metadata).tokenizerFile()
        case "tokenizer_config.json": try json(GGUFTokenizer(metadata).configuration())
        default: throw FileError.cannotRead(file: "\(metadata.file)/\(name)", reason: "a GGUF file has none")
        }
    }

    private func json(_ object: JSONObject) -> Data {
        Data((JSONValue.object(object).serialized(indentation: 2) + "\n").utf8)
    }

    // MARK: Tensors

    /// The tensors by Hugging Face's names, of each file.
    ///
    /// - Throws: `GGUFError`.
    package func tensorFiles() throws -> [String: GGUFTensors] {
        let architecture = try architecture
        var tensors: [String: GGUFTensors] = [:]
        for (name, file) in files { tensors[name] = try GGUFTensors(file) { architecture.places(of: $0) } }
        return tensors
    }
}
