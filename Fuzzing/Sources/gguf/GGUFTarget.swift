import Foundation
import FuzzSupport
import JSON
import ModelDescription
import TensorFiles
import Tokenization
import TokenizerExercise

// The input is a GGUF file: opened alone, then as a model, then as the tokenizer of one.

private let directory = ScratchDirectory()
private let file = directory.url.appending(path: "model.gguf")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    directory.put(FuzzInput(start, count)[0], at: "model.gguf")
    guard let opened = refusing(with: GGUFError.self, FileError.self, load: { try GGUFFile(contentsOf: file) }) else {
        return 0
    }
    for (name, description) in opened.tensors {
        let floats = refusing(with: TensorFileError.self) { try opened.floats(of: name) }
        if let floats { require(floats.count == description.elementCount, "a tensor's floats do not fit its shape") }
    }
    for key in opened.metadata.keys {
        require(opened.metadata[key] != nil, "a key without a value")
        _ = refusing(with: GGUFError.self) { try opened.metadata.strings(key) }
        _ = refusing(with: GGUFError.self) { try opened.metadata.integers(key) }
    }
    // Blocks of 1.7 bits become floats of 32.
    let byteCount = opened.tensors.values.reduce(0) { $0 + $1.byteCount }
    require(byteCount <= 32 * count, "more floats than the file has bits")

    let checkpoint = refusing(
        with: CheckpointError.self, ConfigurationError.self, JSONNodeError.self, TensorFileError.self, GGUFError.self,
        FileError.self
    ) { try Checkpoint(directory: file) }
    if let checkpoint {
        for (name, description) in checkpoint.tensors {
            let bytes = refusing { try checkpoint.withUnsafeBytes(of: name) { $0.count } }
            require(bytes == description.byteCount, "a tensor's bytes do not fit its shape")
            _ = refusing(with: TensorFileError.self) { try checkpoint.floats(of: name) }
            _ = refusing { try checkpoint.storage(of: name) }
        }
    }
    let tokenizer = refusing(with: TokenizerError.self, GGUFError.self, FileError.self) {
        try loadTokenizer(from: file)
    }
    if let tokenizer = tokenizer as? BytePairTokenizer { exercise(tokenizer, text: sampleText) }
    return 0
}
