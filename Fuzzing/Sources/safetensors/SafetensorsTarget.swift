import Foundation
import FuzzSupport
import JSON
import ModelDescription
import TensorFiles

// The input is a safetensors file: opened alone, then as `model.safetensors` of a checkpoint of a tiny LLaMA.

private let directory: ScratchDirectory = {
    let directory = ScratchDirectory()
    directory.put(
        """
        {"model_type": "llama", "vocab_size": 3, "hidden_size": 2, "intermediate_size": 3, "num_hidden_layers": 1,
         "num_attention_heads": 1, "tie_word_embeddings": true}
        """,
        at: "config.json"
    )
    return directory
}()
private let file = directory.url.appending(path: "model.safetensors")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    directory.put(FuzzInput(start, count)[0], at: "model.safetensors")
    let opened = refusing(with: SafetensorsError.self, FileError.self) { try SafetensorsFile(contentsOf: file) }
    guard let opened else { return 0 }
    read(opened, byteCount: count)

    let checkpoint = refusing(
        with: CheckpointError.self, ConfigurationError.self, JSONNodeError.self, TensorFileError.self,
        SafetensorsError.self, FileError.self
    ) { try Checkpoint(directory: directory.url) }
    if let checkpoint {
        for name in checkpoint.tensors.keys {
            _ = refusing(with: TensorFileError.self) { try checkpoint.floats(of: name) }
        }
        require(checkpoint.byteCount <= count, "more tensor bytes than file bytes")
    }
    return 0
}

private func read(_ file: SafetensorsFile, byteCount: Int) {
    var total = 0
    for (name, description) in file.tensors {
        let bytes = refusing { try file.withUnsafeBytes(of: name) { Array($0) } }
        let mapped = refusing { try file.mapped(name) }
        require(bytes?.count == description.byteCount, "a tensor's bytes do not fit its shape")
        require(mapped?.bytes.elementsEqual(bytes ?? []) == true, "mapped and called bytes differ")
        total += description.byteCount
        let floats = refusing(with: TensorFileError.self) { try file.floats(of: name) }
        if let floats { require(floats.count == description.elementCount, "a tensor's floats do not fit its shape") }
        file.releasePages(of: name)
    }
    require(total <= byteCount, "more tensor bytes than file bytes")
}
