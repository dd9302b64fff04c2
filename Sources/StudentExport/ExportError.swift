// StudentExport: a student as a model that other engines run: a dense checkpoint, or a GGUF file whose layers are signs and a
// scale per row. May import ModelDescription, SignDecomposition, Tokenization and TensorFiles.

import Foundation
import ModelDescription

/// Why a student cannot leave in another format.
public enum ExportError: LocalizedError, Sendable, Hashable {
    /// A LayerNorm follows every one-bit layer, which no other engine computes.
    case layerNormBehindLayers(directory: String)
    /// A model that is dense already.
    case notAStudent(directory: String)
    /// The format has no way to say what the model computes.
    case notExpressible(directory: String, what: String, format: String)
    /// The tokenizer is of a kind that the format has no name for.
    case tokenizerNotExpressible(file: String, key: String, found: String)
    /// Rows that do not divide into the blocks of the type that was asked for.
    case widthNotAMultiple(tensor: String, width: Int, block: Int, type: String)

    public var errorDescription: String? {
        switch self {
        case .layerNormBehindLayers(let directory):
            "\(directory): a LayerNorm follows each of its one-bit layers, which other engines do not compute."
        case .notAStudent(let directory):
            "\(directory): a dense model, expected a student."
        case .notExpressible(let directory, let what, let format):
            "\(directory): \(format) has no way to say \(what)."
        case .tokenizerNotExpressible(let file, let key, let found):
            "\(file): the key \"\(key)\" is \(found), for which llama.cpp has no name."
        case .widthNotAMultiple(let tensor, let width, let block, let type):
            "\(tensor): rows of \(width) do not divide into blocks of \(block), as \(type) has them."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .layerNormBehindLayers:
            "Distil a student without it, as the default recipe does."
        case .notAStudent: "Other engines run it as it is."
        case .notExpressible, .tokenizerNotExpressible: "Export it as safetensors."
        case .widthNotAMultiple: "Take a type without blocks, such as F16."
        }
    }
}

extension Checkpoint {
    /// Checks that other engines can compute what this student computes.
    ///
    /// - Throws: ``ExportError``
    func requireExportable() throws {
        guard kind != .dense, let quantization = configuration.quantization else {
            throw ExportError.notAStudent(directory: directory.path)
        }
        if quantization.postLayerNorm { throw ExportError.layerNormBehindLayers(directory: directory.path) }
    }
}
